"""What is recorded from a real broker: scenes written by hand, for the lines of its behaviour, and seeded walks."""

# ruff: noqa: E501 - a scene reads best in one line

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.agreement.walks import KINDS, Walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.agreement.scene import Step

WALKS = 80
WALK_STEPS = 25
NEEDS_CONTROL = ("restart", "block")
"""Steps, and `full`, that only a broker allows which is our own."""

BY_HAND = {
    "order": "publish x dead 5; declare x dead; publish x dead 5; consume y dead 3; ack y dead 0 1 2; ack y dead 0",
    "unroutable": "publish x plain 1; declare y plain; publish x plain 1; publish y plain 1; consume x plain 5",
    "unroutable among others": "declare x plain; publish x plain 2; publish x dead 2; publish x plain 1",
    "prefetch bounds": "declare x dead; publish x dead 6; consume x dead 2; consume y dead 3; ack x dead 0",
    "round robin": "consume x dead 4; consume y dead 4; declare x dead; publish x dead 1; publish x dead 5; ack y dead 2",
    "round robin after acks": "consume x dead 1; consume y dead 1; declare x dead; publish x dead 2; ack y dead 0; "
    "ack x dead 0; publish x dead 3; ack x dead 0; ack y dead 0",
    "ack of several": "declare x dead; publish x dead 6; consume x dead 6; ack x dead 5 4; ack x dead 2 0; close x; "
    "consume x dead 6",
    "ack of several, newest first": "declare x dead; publish x dead 4; consume x dead 4; ack x dead 0 1 2; close x; "
    "consume y dead 4",
    "ack twice": "declare x dead; publish x dead 3; consume x dead 2; ack x dead 1; ack x dead 2 1; ack x dead 1",
    "ack by another": "declare x dead; publish x dead 2; consume x dead 2; consume y dead 2; ack x dead 0 1 y; close x",
    "stale ack": "declare x dead; publish x dead 2; consume x dead 2; close x; ack x dead 0 1; give_back x dead 0; "
    "consume y dead 2; ack x dead 1 0; close y; consume y dead 2",
    "ack after give back": "declare x dead; publish x dead 2; consume x dead 1; give_back x dead 0; ack x dead 1; "
    "ack x dead 0",
    "give back one": "declare x dead; publish x dead 4; consume x dead 3; give_back x dead 1; ack x dead 3; ack x dead 0",
    "give back to others": "declare x dead; publish x dead 3; consume x dead 3; stop x; give_back x dead 1; "
    "consume y dead 2; ack x dead 2 0",
    "give back in another order": "declare x dead; publish x dead 5; consume x dead 4; stop x; give_back x dead 0 2; "
    "give_back x dead 3 1; consume y dead 5",
    "give back under a full prefetch": "declare x dead; publish x dead 5; consume x dead 2; consume y dead 1; "
    "give_back x dead 0; give_back y dead 0; give_back x dead 1 0",
    "close gives back": "declare x dead; publish x dead 4; consume x dead 3; close x; consume y dead 4",
    "close gives to others": "declare x dead; publish x dead 4; consume x dead 2; consume y dead 4; close x; ack y dead 0",
    "cut gives back": "declare x dead; publish x dead 4; consume x dead 3; cut x; ack x dead 0 1",
    "cut gives to others first": "declare x dead; publish x dead 5; consume x dead 3; consume y dead 3; cut x; ack y dead 0",
    "cut of a publisher": "declare x dead; publish x dead 2; cut x; publish x dead 2; consume y dead 4",
    "cut of nobody": "cut x; declare x dead; cut y; publish x dead 1; cut y",
    "redelivered though only buffered": "declare x dead; publish x dead 3; consume x dead 3; stop x; close x; "
    "consume y dead 1; close y; consume x dead 3",
    "stop keeps unacked": "declare x dead; publish x dead 4; consume x dead 2; stop x; ack x dead 0; consume y dead 1; "
    "ack x dead 1; stop x",
    "consume again": "declare x dead; publish x dead 4; consume x dead 2; stop x; consume x dead 3; ack x dead 0",
    "consume twice": "declare x dead; publish x dead 3; consume x dead 1; consume x dead 3; ack x dead 0",
    "two queues": "declare x dead; declare x plain; publish x dead 2; publish x plain 2; consume y dead 1; "
    "consume y plain 1; ack y plain 0; ack y dead 0",
    "delete under a consumer": "consume x dead 2; declare y dead; publish y dead 3; delete y dead; publish y dead 1; "
    "ack x dead 0; declare y dead; publish y dead 2",
    "delete what is unacked": "declare x dead; publish x dead 2; consume x dead 2; delete x dead; ack x dead 0; "
    "consume y dead 2; publish x dead 1",
    "delete what is missing": "delete x dead; publish x plain 1; delete x dead; consume x plain 1; delete x dead",
    "declared again by its publisher": "declare x dead; publish x dead 1; delete y dead; publish y dead 1; delete y dead; "
    "publish x dead 2",
    "reject": "declare x dead; publish x dead 3; consume x dead 2; reject x dead 1; ack x dead 0; consume y dead.dead 2",
    "reject twice": "declare x dead; publish x dead 1; consume x dead 1; reject x dead 0; reject x dead 0; "
    "consume y dead.dead 3",
    "reject makes room": "declare x dead; publish x dead 3; consume x dead 1; reject x dead 0; reject x dead 0",
    "reject out of order": "declare x dead; publish x dead 3; consume x dead 3; reject x dead 0; reject x dead 2; "
    "consume y dead.dead 3",
    "a dead letter is new": "declare x dead; publish x dead 1; consume x dead 1; close x; consume x dead 1; "
    "reject x dead 0; consume y dead.dead 1; close y; consume y dead.dead 1",
    "reject without dead letters": "declare x plain; publish x plain 2; consume x plain 1; reject x plain 0",
    "declare otherwise": "declare x dead; publish x dead 1; declare y dead otherwise; publish y dead 1; declare y dead; "
    "publish y dead 1; consume x dead 3",
    "consume otherwise": "declare x dead; publish x dead 1; consume y dead 1 otherwise; consume y dead 1",
    "exclusive": "consume x dead 2 exclusive; declare x dead; publish x dead 1; consume y dead 2 exclusive; close x; "
    "consume y dead 2 exclusive",
    "standby": "consume x dead 1 exclusive; declare x dead; publish x dead 3; consume y dead 2 standby; close x",
    "standby after a cut": "consume x dead 1 standby; declare x dead; publish x dead 3; consume y dead 2 standby; cut x",
    "exclusive beside shared": "consume x dead 1; consume y dead 1 exclusive; declare x dead; publish x dead 3",
    "expiry": "expire x; expire y; expire x; cut x; expire x",
    "full": "declare x full; publish x full 3; publish x full 1; consume y full 1; publish x full 2; ack y full 0; "
    "publish x full 2",
    "full does not count unacked": "declare x full; consume y full 3; publish x full 5; stop y; give_back y full 0 1 2; "
    "publish x full 1",
    "restart": "declare x dead; publish x dead 4; consume x dead 2; ack x dead 1; restart; ack x dead 0 1; publish x dead 1",
    "restart over the limit": "declare x full; consume y full 4; publish x full 6; restart; publish x full 1; ack y full 0",
    "restart without consumers": "declare x dead; publish x dead 2; consume y dead 1; stop y; restart; consume x dead 2",
    "restart of two consumers": "declare x dead; publish x dead 4; consume x dead 1; consume y dead 1; restart; "
    "ack x dead 0; ack y dead 0",
    "alarm": "declare x dead; publish x dead 1; consume y dead 1; block; publish x dead 2; ack y dead 0; unblock; "
    "publish x dead 1",
    "alarm and who only consumes": "declare x dead; publish x dead 3; consume y dead 1; block; ack y dead 0; "
    "give_back y dead 0; unblock",
    "alarm and two publishers": "declare x dead; declare y dead; publish x dead 1; publish y dead 1; block; "
    "publish y dead 2; publish x dead 2; unblock; consume x dead 9",
    "alarm and a reject": "declare x dead; publish x dead 2; consume y dead 1; block; reject y dead 0; unblock",
    "declare under an alarm": "declare x dead; publish x dead 1; block; publish x dead 1; "
    "declare x dead otherwise; publish x dead 1; declare x dead; publish x dead 1; unblock; consume y dead 4",
    "quorum order": "declare x quorum; publish x quorum 5; consume y quorum 2; ack y quorum 0; ack y quorum 0 1",
    "quorum give back": "declare x quorum; publish x quorum 4; consume x quorum 3; give_back x quorum 1; "
    "ack x quorum 0 1 2",
    "quorum give back of several": "declare x quorum; publish x quorum 5; consume x quorum 3; give_back x quorum 2 0",
    "quorum close": "declare x quorum; publish x quorum 4; consume x quorum 3; close x; consume y quorum 5",
    "quorum cut": "declare x quorum; publish x quorum 4; consume x quorum 2; cut x; ack x quorum 0 1",
    "quorum reject": "declare x quorum; publish x quorum 3; consume x quorum 2; reject x quorum 1; "
    "consume y quorum.dead 1",
    "quorum given back very often": "declare x quorum; publish x quorum 2; consume x quorum 1; "
    + "; ".join(["give_back x quorum 0"] * 24),
    "quorum lost very often": "declare x quorum; publish x quorum 2; consume x quorum 1; "
    + "; ".join(["close x; consume x quorum 1"] * 24),
    "quorum round robin after acks": "consume x quorum 1; consume y quorum 2; publish x quorum 3; ack x quorum 0; "
    "ack y quorum 0 1; publish x quorum 3",
    "quorum dead letters otherwise": "consume y quorum 3 otherwise; publish x quorum 3; reject y quorum 0; "
    "delete y quorum; declare x quorum; publish x quorum 1",
}  # fmt: skip


def by_hand() -> Iterator[tuple[str, list[Step]]]:
    """Go through the scenes that were written by hand."""
    for name, text in BY_HAND.items():
        yield name, [_step(line.split()) for line in text.split("; ")]


def _step(words: list[str]) -> Step:
    kind, *rest = words
    arguments = [int(word) if word.isdecimal() else word for word in rest]
    if kind in ("ack", "give_back"):
        places = [argument for argument in arguments if isinstance(argument, int)]
        names = [argument for argument in arguments if not isinstance(argument, int)]
        return [kind, *names[:2], places, *names[2:]]
    return [kind, *arguments]


def at_random() -> Iterator[tuple[str, list[Step]]]:
    """Go through the seeded walks, always the same."""
    for seed in range(WALKS):
        choices = random.Random(seed)
        queues = (["dead"], ["dead", "plain"], ["full"], ["dead", "full"], ["quorum"])[seed % 5]
        walk = Walk(choices.randrange, queues)
        steps: list[Step] = []
        while len(steps) < WALK_STEPS:
            kind = choices.choices([*KINDS, "block", "unblock"], [*KINDS.values(), 1, 10])[0]
            if (step := walk.step(kind)) is not None:
                steps.append(step)
        if walk.is_blocked:
            steps.append(["unblock"])
        yield f"walk {seed}", steps


def needs_control(steps: list[Step]) -> bool:
    """Return whether these steps can only be taken on a broker of our own."""
    return any(step[0] in NEEDS_CONTROL or "full" in step for step in steps)

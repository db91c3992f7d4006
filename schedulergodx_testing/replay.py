"""One line that replays a run: the seed, and every choice that was made. It depends on no version of anything else.

`token` and `parse` are of a run of one test; `story_token` and `parse_story` of one of a `SchedulerMachine`, which is
a list of steps. `find` looks for a run that fails, over many seeds, and `shrink` makes its choices few.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from schedulergodx.config import whole_number
from schedulergodx.errors import InvalidParameter
from schedulergodx_testing.errors import HarnessError, NotEmulated
from schedulergodx_testing.given import has_run, must_take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from schedulergodx_testing.harness import Harness

VARIABLE = "SCHEDULERGODX_REPLAY"
_VERSION = "1"
_STORY = "story1"
_BYTES_MAX = 1024 * 1024
_SHOWN_MAX = 400
_FILE = "@"
_SEEDS_MAX = _TRIES_MAX = 10**9
_SEEDS_OF_WRONG_USE = 10

Steps: TypeAlias = "list[tuple[str, dict[str, Any]]]"


def token(seed: int, choices: Sequence[int]) -> str:
    """Return a text without spaces that stands for a seed and choices."""
    return f"{_VERSION}:{seed}:{_coded(' '.join(map(str, _without_zeros_at_the_end(choices))))}"


def parse(text: str) -> tuple[int, tuple[int, ...]]:
    """Return the seed and the choices of a token.

    Raises:
        InvalidParameter: it is no token, or one of another version.
    """
    version, _, rest = text.partition(":")
    seed, _, coded = rest.partition(":")
    if version != _VERSION:
        of_machine = "; it is one of a SchedulerMachine, which replays it itself" if version == _STORY else ""
        raise InvalidParameter(
            f"{VARIABLE} is no replay of this version: it must begin with {_VERSION}:, got {text!r:.60}{of_machine}"
        )
    text = _decoded(coded)
    try:
        return int(seed), tuple(int(choice) for choice in text.split())
    except ValueError as error:
        raise _damaged(error) from None


def choices_of(given: object) -> list[int]:
    """Return the choices that a harness is to repeat, as `parse` returns them.

    Raises:
        InvalidParameter: it is something else, such as the token itself; the message says what to pass.
    """
    if isinstance(given, str) and given.startswith(f"{_VERSION}:"):
        seed, _ = parse(given)
        raise InvalidParameter(
            f"replay takes the choices of a token, with its seed: Harness(seed={seed}, "
            f"replay=replay.parse({given!r})[1]). The token itself goes into {VARIABLE}, for a test with the fixture"
        )
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else None
    if found is None or any(isinstance(choice, bool) or not isinstance(choice, int) for choice in found):
        raise InvalidParameter(
            f"replay takes choices, whole numbers as replay.parse(token)[1] returns them; got {given!r:.80}"
        )
    return found


def story_token(steps: Steps) -> str:
    """Return a text without spaces that stands for the steps of a machine: names of rules, and their arguments.

    Raises:
        TypeError: an argument is no JSON data.
    """
    return f"{_STORY}:{_coded(json.dumps(steps, separators=(',', ':')))}"


def parse_story(text: str) -> Steps:
    """Return the steps of a token.

    Raises:
        InvalidParameter: it is no token of a machine, or one of another version.
    """
    version, _, coded = text.partition(":")
    if version != _STORY:
        raise InvalidParameter(
            f"{VARIABLE} is no replay of a SchedulerMachine: it must begin with {_STORY}:, got {text!r:.60}"
        )
    text = _decoded(coded)
    try:
        return [(str(name), dict(arguments)) for name, arguments in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise _damaged(error) from None


def line(text: str, nodeid: str, folder: Path | None = None) -> str:
    """Return the line that a person pastes into a shell. A long token goes into a file of `folder`.

    Args:
        text: the token.
        nodeid: the test, as the shell's folder names it.
        folder: where to write; None: nowhere, and the line holds the token however long it is.
    """
    import shlex  # noqa: PLC0415 - only failures need it

    shown = text
    if len(text) > _SHOWN_MAX and folder is not None:
        path = folder / f"replay-{zlib.crc32(text.encode()):08x}"
        path.write_text(text, encoding="ascii")
        shown = shlex.quote(f"{_FILE}{path}")
    return f"{VARIABLE}={shown} pytest {shlex.quote(nodeid)}"


def wanted() -> str | None:
    """Return the token that the environment asks for, or None.

    Raises:
        InvalidParameter: it names a file that cannot be read.
    """
    text = os.environ.get(VARIABLE) or None
    if text is None or not text.startswith(_FILE):
        return text
    try:
        return Path(text.removeprefix(_FILE)).read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise InvalidParameter(f"{VARIABLE} names a file that cannot be read: {error}") from None


def find(test: Callable[[Harness], object], *, seeds: int = 1000, **options: Any) -> str | None:
    """Look for a seed with which `test` fails, and return a token whose choices are few, or None.

    It fails by raising an `Exception`, or by what the harness finds at its end, e.g. what `must_hold` asked for. Errors
    of the harness that mean that a test fails are failures, too: `NothingLeftToHappen`, `ThreadStuck`, `LeftBehind`, ….

    What tells of wrong use (`NotEmulated`, `InvalidParameter`, a `HarnessError` of no kind of its own) is raised as it
    is, when it comes whatever comes first, as far as ten seeds tell. When it comes in some orders only, it is a failure
    as others are: that of `run_until(…, timeout_s=…)`, say.

    Args:
        test: a function of an open harness, not a coroutine function. It is called many times, so it begins anew.
        seeds: how many are tried, from 0 on.
        options: for each `Harness`; not `seed` and `replay`.

    Raises:
        InvalidParameter: `test` is no such function, `seeds` is no whole number above 0, or an option is wrong.
        HarnessError: a harness is open already; or the test uses its own in a wrong way, see above.
    """
    must_take("the test", test, "harness")
    whole_number("seeds", seeds, least=1, most=_SEEDS_MAX)
    if own := sorted({"seed", "replay"} & options.keys()):
        raise InvalidParameter(f"find tries seeds of its own: leave out {' and '.join(own)}")
    _refuse_wrong_use(_run(test, options, seed)[1] for seed in range(min(seeds, _SEEDS_OF_WRONG_USE)))
    for seed in range(seeds):
        failing, error = _run(test, options, seed)
        if error is not None:
            return shrink(lambda text: _run(test, options, *parse(text))[1] is not None, failing)
    return None


def _run(
    test: Callable[[Harness], object],
    options: Mapping[str, Any],
    seed: int,
    choices: tuple[int, ...] | None = None,
) -> tuple[str, Exception | None]:
    """Return the token of a run, and how it failed, or None."""
    from schedulergodx_testing.harness import Harness  # noqa: PLC0415 - a harness is much to import for a token

    harness = Harness(**options, seed=seed, replay=choices)
    harness.open()  # out here: when that fails, the test has not begun
    failure: Exception | None = None
    try:
        with ExitStack() as stack:
            stack.push(harness)
            has_run("the test", test(harness))
    except Exception as error:  # noqa: BLE001 - however it fails
        failure = error
    return token(seed, harness.choices.taken), failure


def _refuse_wrong_use(errors: Iterator[Exception | None]) -> None:
    """Raise the first error when each, of runs in different orders, tells of wrong use; ask for no more than needed.

    A mere `HarnessError` may be one or the other. What is wrong whatever comes first is no question of order.
    """
    first = next(errors)
    if first is not None and _tells_of_wrong_use(first) and all(map(_tells_of_wrong_use, errors)):
        raise first


def _tells_of_wrong_use(error: Exception | None) -> bool:
    return type(error) is HarnessError or isinstance(error, (NotEmulated, InvalidParameter))


def shrink(fails: Callable[[str], bool], text: str, *, tries_max: int = 2000) -> str:
    """Return a token that fails, too, with as few choices as can be found that are not the first thing at hand.

    Args:
        fails: runs a test with a token, and returns whether it fails.
        text: the token to begin with.
        tries_max: how many runs it may take.

    Raises:
        InvalidParameter: the test does not fail with `text`, or that is no token; or another argument is wrong.
    """
    must_take("fails", fails, "token")
    whole_number("tries_max", tries_max, least=0, most=_TRIES_MAX)
    seed, choices = parse(text)
    if not fails(text):
        raise InvalidParameter("there is nothing to shrink: with this token the test passes")
    tries = 0

    def is_enough(candidate: Sequence[int]) -> bool:
        nonlocal tries
        tries += 1
        return tries <= tries_max and fails(token(seed, candidate))

    best = list(choices)
    is_better = True
    while is_better and tries < tries_max:
        is_better = False
        for candidate in _simpler(best):
            if is_enough(candidate):
                best, is_better = _without_zeros_at_the_end(candidate), True
                break
    return token(seed, best)


def _simpler(choices: list[int]) -> Iterator[list[int]]:
    """Yield choices that are simpler, the boldest first: without a half, a quarter, …, one; then with smaller ones."""
    places = [place for place, choice in enumerate(choices) if choice]
    size = len(places)
    while size:
        for first in range(0, len(places), size):
            without = set(places[first : first + size])
            yield [0 if place in without else choice for place, choice in enumerate(choices)]
        size //= 2
    for place in places:
        if choices[place] > 1:
            yield [*choices[:place], 1, *choices[place + 1 :]]


def _without_zeros_at_the_end(choices: Sequence[int]) -> list[int]:
    kept = list(choices)
    while kept and not kept[-1]:
        kept.pop()
    return kept


def _coded(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def _decoded(coded: str) -> str:
    unpacking = zlib.decompressobj()
    try:
        packed = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
        text = unpacking.decompress(packed, _BYTES_MAX).decode()
    except (binascii.Error, zlib.error, ValueError) as error:
        raise _damaged(error) from None
    if not unpacking.eof:
        raise _damaged(ValueError("its end is missing"))
    return text


def _damaged(error: Exception) -> InvalidParameter:
    return InvalidParameter(f"{VARIABLE} is damaged ({error}); copy the whole line that the failing test printed")

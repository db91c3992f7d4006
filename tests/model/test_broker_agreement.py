"""The broker in memory and a real RabbitMQ go the same random steps, and everything that a program sees is the same.

`pytest tests/model/test_broker_agreement.py --walks 20000` walks for as long as one likes. What was found is in
`docs/agreement.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.agreement.agreement import Agreement, as_test, assert_agreement, comes_again
from tests.agreement.walks import KINDS, Walk

if TYPE_CHECKING:
    from tests.agreement.real import RealSide
    from tests.agreement.scene import Step

STEPS_MAX = 50
QUORUM_SHARE = 30
"""One in so many walks is taken among quorum queues."""
pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

QUEUES = [["dead"], ["dead", "plain"], ["full"], ["dead", "full"], ["dead", "plain", "full"]]
DRAWN = [kind for kind, weight in KINDS.items() for _ in range(3 * weight)]
# A restart takes a second and an alarm a third of one: now and then. In the middle, so that shrinking leaves them.
DRAWN[150:150] = ["restart", "block", "block", *["unblock"] * 12]


def walk(side: RealSide, profile: str, choices: list[list[str]], walks: int) -> list[str]:
    """Take so many walks, each among the queues of one of `choices`; return what differed and did not come again."""
    passing: list[str] = []
    run_state_machine_as_test(
        machine(side, profile, choices, passing),
        settings=settings(
            max_examples=walks,
            stateful_step_count=STEPS_MAX,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return passing


def machine(side: RealSide, profile: str, choices: list[list[str]], passing: list[str]) -> type[RuleBasedStateMachine]:
    """Return the state machine for one broker. A difference that does not come again is put into `passing`."""

    class Walks(RuleBasedStateMachine):
        both: Agreement | None = None

        @initialize(queues=st.sampled_from(choices), data=st.data())
        def begin(self, queues: list[str], data: st.DataObject) -> None:
            self.both = Agreement(side, profile)
            self.walk = Walk(lambda below: data.draw(st.integers(0, below - 1)), queues)

        @rule(kind=st.sampled_from(DRAWN), data=st.data())
        def step(self, kind: str, data: st.DataObject) -> None:
            self.walk.draw = lambda below: data.draw(st.integers(0, below - 1))
            step = self.walk.step(kind)
            if step is not None and self.both is not None:
                self._take(self.both, step)

        def _take(self, both: Agreement, step: Step) -> None:
            try:
                both.step(step)
            except AssertionError:
                self.teardown()
                if comes_again(side, profile, both.steps):
                    raise
                passing.append(as_test(both.steps))  # the rest of this walk is drawn, and not taken

        def teardown(self) -> None:
            if self.both is not None:
                self.both.__exit__()
            self.both = None

    return Walks


@pytest.mark.walks(1)
def test_walks_agree(side: RealSide, profile: str, request: pytest.FixtureRequest) -> None:
    """After every step of every walk, what the real broker shows is something that the one in memory can show.

    What does not come again with the same steps stands in the report, as the property `passing`, and is no failure.
    """
    passing = walk(side, profile, QUEUES, request.config.getoption("--walks"))
    request.node.user_properties.append(("passing", passing))


@pytest.mark.walks(1 / QUORUM_SHARE)
def test_walks_among_quorum_queues_agree(side: RealSide, profile: str, request: pytest.FixtureRequest) -> None:
    """The same on a quorum queue; fewer of them, since nothing tells when such a queue is at rest."""
    passing = walk(side, profile, [["quorum"]], 1 + request.config.getoption("--walks") // QUORUM_SHARE)
    request.node.user_properties.append(("passing", passing))


# --- What walks have found, shrunk


def test_what_is_declared_under_an_alarm(side: RealSide, profile: str) -> None:
    """Under an alarm only the last declaration of a queue counts, and it comes before what is published meanwhile."""
    steps = [
        ["publish", "x", "dead", 1],
        ["block"],
        ["publish", "x", "dead", 2],
        ["publish", "x", "dead", 1],
        ["declare", "x", "dead", "otherwise"],
        ["publish", "x", "dead", 1],
        ["declare", "x", "dead"],
        ["publish", "x", "dead", 1],
        ["unblock"],
        ["consume", "y", "dead", 4],
    ]
    assert_agreement(side, profile, steps)


def test_whose_turn_it_is(side: RealSide, profile: str) -> None:
    """A consumer loses its turn only when a message finds it full, not when it takes its last one."""
    steps = [
        ["consume", "x", "dead", 1],
        ["consume", "y", "dead", 1],
        ["publish", "x", "dead", 2],
        ["ack", "y", "dead", [0]],
        ["ack", "x", "dead", [0]],
        ["publish", "x", "dead", 3],
    ]
    assert_agreement(side, profile, steps)


def test_whose_turn_it_is_in_a_quorum_queue(side: RealSide, profile: str) -> None:
    """There a consumer loses its turn as soon as it takes its last one, and comes behind the others when it acks."""
    steps = [
        ["consume", "x", "quorum", 4],
        ["consume", "y", "quorum", 2],
        ["publish", "x", "quorum", 2],
        ["stop", "x"],
        ["consume", "x", "quorum", 4],
        ["ack", "y", "quorum", [0]],
        ["publish", "y", "quorum", 3],
    ]
    assert_agreement(side, profile, steps)


def test_who_comes_back_first(side: RealSide, profile: str) -> None:
    """After a restart consumers come back in any order, also one that lost its connection before."""
    steps = [
        ["consume", "x", "dead", 1],
        ["consume", "y", "dead", 1],
        ["publish", "x", "dead", 4],
        ["cut", "y"],
        ["restart"],
    ]
    assert_agreement(side, profile, steps)


def test_a_restart_over_the_limit(side: RealSide, profile: str) -> None:
    """What is above the limit of a queue when the broker starts is dropped, confirmed or not, the oldest first."""
    steps = [
        ["declare", "x", "full"],
        ["consume", "y", "full", 4],
        ["publish", "x", "full", 6],
        ["restart"],
    ]
    assert_agreement(side, profile, steps)

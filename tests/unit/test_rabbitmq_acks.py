"""Few acks cover many tags, and never one that the broker does not wait for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.transport.rabbitmq.acks import Ack, UnackedTags


def unacked(*tags: int) -> UnackedTags:
    waiting = UnackedTags()
    for tag in tags:
        waiting.add(tag)
    return waiting


def test_all_tags_need_one_ack() -> None:
    """A set that covers everything up to its highest tag is one multiple ack."""
    assert unacked(1, 2, 3).take([3, 1, 2]) == [Ack(3, is_multiple=True)]


def test_a_gap_is_not_acked() -> None:
    """What is unacked and not in the set stays so: tags behind it are acked one by one."""
    waiting = unacked(1, 2, 3, 4, 5)
    assert waiting.take([5, 1, 2, 4]) == [
        Ack(2, is_multiple=True),
        Ack(4, is_multiple=False),
        Ack(5, is_multiple=False),
    ]
    assert 3 in waiting
    assert len(waiting) == 1


def test_one_tag_needs_no_multiple() -> None:
    """The oldest tag alone is acked alone."""
    assert unacked(1, 2).take([1]) == [Ack(1, is_multiple=False)]


def test_unknown_and_repeated_tags_are_left_out() -> None:
    """The broker closes a channel that acks an unknown tag, so a second ack is not sent."""
    waiting = unacked(1, 2)
    assert waiting.take([1, 1, 7]) == [Ack(1, is_multiple=False)]
    assert waiting.take([1, 7]) == []
    assert waiting.take([]) == []


@given(st.lists(st.lists(st.integers(1, 30), max_size=30), max_size=10))
def test_a_broker_would_have_acked_exactly_what_was_asked(groups: list[list[int]]) -> None:
    """Whatever is acked in whatever order: each tag once, none unknown, and none that was not asked for."""
    waiting, broker = unacked(*range(1, 31)), set(range(1, 31))
    asked: set[int] = set()
    for group in groups:
        asked.update(group)
        for ack in waiting.take(group):
            assert ack.tag in broker
            broker -= {tag for tag in broker if tag == ack.tag or (ack.is_multiple and tag <= ack.tag)}
        assert broker == set(range(1, 31)) - asked

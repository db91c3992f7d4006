"""`StorageOutboxContract`: how the answers to one queue are read out of the outbox. A part of `StorageContract`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx_testing.contracts.stored_tasks import NOON

if TYPE_CHECKING:
    from schedulergodx.utils.abstractions import Reply, Storage


class StorageOutboxContract:
    """Answers wait for each queue by itself; see `StorageContract` for the fixtures."""

    def test_the_replies_to_one_queue_keep_their_order(self, storage: Storage) -> None:
        """They are found by themselves, from any number on, and no more than asked for."""
        replies = _add(storage, *(("a", 1), ("b", 1), ("a", 1), ("a", 1)))
        assert storage.replies(after=0, limit=9, queue="a") == [replies[0], replies[2], replies[3]]
        assert storage.replies(after=replies[0].number, limit=1, queue="a") == [replies[2]]
        assert storage.replies(after=replies[3].number, limit=9, queue="a") == []
        assert storage.replies(after=0, limit=9, queue="c") == []

    def test_replies_are_read_until_they_have_so_many_bytes(self, storage: Storage) -> None:
        """The last one may go beyond; the first is always there; those to other queues do not count."""
        small, large, other, last = _add(storage, ("a", 3), ("a", 500), ("b", 10_000), ("a", 1))
        assert storage.replies(after=0, limit=9, queue="a", bytes_max=1) == [small]
        assert storage.replies(after=0, limit=9, queue="a", bytes_max=3) == [small]
        assert storage.replies(after=0, limit=9, queue="a", bytes_max=4) == [small, large]
        assert storage.replies(after=0, limit=9, queue="a", bytes_max=503) == [small, large]
        assert storage.replies(after=0, limit=9, queue="a", bytes_max=504) == [small, large, last]
        assert storage.replies(after=0, limit=9, bytes_max=504) == [small, large, other]
        assert storage.replies(after=small.number, limit=9, queue="a", bytes_max=1) == [large]

    def test_empty_replies_are_read_too(self, storage: Storage) -> None:
        """They have no bytes, so they end at the limit."""
        replies = _add(storage, ("a", 0), ("a", 0), ("a", 0))
        assert storage.replies(after=0, limit=2, queue="a", bytes_max=1) == replies[:2]

    def test_queues_with_replies_are_listed(self, storage: Storage) -> None:
        """Each once, sorted, from any name on, and no more than asked for."""
        assert storage.reply_queues(after="", limit=9) == []
        replies = _add(storage, ("b", 1), ("a", 1), ("c", 1), ("b", 1), ("é", 1))
        assert storage.reply_queues(after="", limit=9) == ["a", "b", "c", "é"]
        assert storage.reply_queues(after="", limit=2) == ["a", "b"]
        assert storage.reply_queues(after="b", limit=1) == ["c"]
        assert storage.reply_queues(after="é", limit=9) == []
        with storage.transaction():
            storage.remove_replies([reply.number for reply in replies if reply.queue == "a"])
            assert storage.reply_queues(after="", limit=9) == ["b", "c", "é"]


def _add(storage: Storage, *wanted: tuple[str, int]) -> list[Reply]:
    """Add replies to queues, each of so many bytes."""
    with storage.transaction():
        return [
            storage.add_reply(queue, f"id{number}", b"x" * size, now=NOON)
            for number, (queue, size) in enumerate(wanted)
        ]

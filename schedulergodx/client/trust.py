"""The signatures of one connection of a client: made when its keys are first needed, and refused where they must be."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from schedulergodx import redirection
from schedulergodx import transport as transports
from schedulergodx.errors import KeysRefused
from schedulergodx.utils.keys.policy import check_keys
from schedulergodx.utils.message.signature import Direction, Opened, Signatures

if TYPE_CHECKING:
    from schedulergodx.client.places import Way
    from schedulergodx.utils.abstractions import Clock


class Trust:
    """Signs what a client sends and checks what it is sent. Safe from any thread.

    Args:
        way: where the broker is, and where the keys come from.
        clock: tells whose time it is.
        client: name of the client.
        request_queue: the queue whose messages are signed.
        allow_unsigned: go on without keys on any broker, and take unsigned answers.
    """

    def __init__(self, way: Way, clock: Clock, *, client: str, request_queue: str, allow_unsigned: bool) -> None:
        self._way = way
        self._clock = clock
        self._client = client
        self._request_queue = request_queue
        self._allow_unsigned = allow_unsigned
        self._lock = threading.Lock()
        self._signatures: Signatures | None = None

    def sign(self, request: bytes) -> bytes:
        """Return a request as it is sent.

        Raises:
            KeysRefused: the keys cannot be used, or there are none where there must be; nothing may be sent.
        """
        return self._own().sign(Direction.REQUEST, self._client, request)

    def open(self, answer: bytes) -> Opened:
        """Return what an answer says, certain that it is for this client, and from its service.

        Raises:
            MessageRejected: BAD_SIGNATURE.
        """
        opened = self._own().open(Direction.ANSWER, answer)
        opened.check(self._client)
        return opened

    def reload(self) -> None:
        """Read the keys again. Raises KeysRefused; then the old ones stay."""
        self._way.keys().reload()

    def _own(self) -> Signatures:
        if (made := self._signatures) is not None:
            return made
        with self._lock:
            if self._signatures is None:
                self._signatures = self._make()
            return self._signatures

    def _make(self) -> Signatures:
        keys, broker = self._way.keys(), self._way.here()
        try:
            ring = keys.reload()
            if redirection.active() is None:  # what passes in a test harness leaves no process
                check_keys(
                    ring,
                    who=f"client {self._client!r}",
                    broker=transports.address(broker),
                    is_local=transports.is_local(broker),
                    allow_unsigned=self._allow_unsigned,
                )
        except KeysRefused as error:
            raise KeysRefused(f"nothing was sent: {error}") from None
        return Signatures(keys.ring, queue=self._request_queue, clock=self._clock, allow_unsigned=self._allow_unsigned)

"""pika's connection with additions: writes can be gathered, they go out at once, reads are larger, and it can be cut.

The only module that uses names of pika which are not public. Without `_adapter_emit_data` nothing would be gathered,
without `_sock` all would go out one turn of the loop later, without `_MAX_RECV_BYTES` all would be read in smaller
pieces, and everything would still work; `tests/integration/rabbitmq_transport/test_losses.py` shows that cutting works.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.exceptions import StreamLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pika

_WRITE_BYTES_MAX = 256 * 1024
"""Frames are joined up to this size; larger pieces would be copied without gain."""
_READ_BYTES_MAX = 16 * 1024
"""Read at once, instead of pika's 4 KiB: each read lets go of the interpreter, and waits until it has it again.

Not more: pika copies what it has read and not looked at yet with every frame.
"""


_UNKNOWN = object()


class WireConnection(SelectConnection):
    """A `SelectConnection` on `loop`. Everything in it is for the thread of that loop only."""

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        loop: IOLoop,
        *,
        on_open: Callable[[WireConnection], None],
        on_end: Callable[[WireConnection, BaseException], None],
    ) -> None:
        self._gathered: list[bytes] | None = None
        self._gathered_bytes = 0

        def ended(_connection: object, error: str | BaseException) -> None:
            on_end(self, error if isinstance(error, BaseException) else StreamLostError(error))

        def opened() -> None:
            self._transport._MAX_RECV_BYTES = _READ_BYTES_MAX  # type: ignore[attr-defined] # noqa: SLF001 - see above
            on_open(self)

        super().__init__(
            parameters,
            on_open_callback=lambda _connection: opened(),
            on_open_error_callback=ended,
            on_close_callback=ended,
            custom_ioloop=loop,
        )

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Hand the frames that the block sends to the socket together: one system call instead of three a message."""
        self._gathered = []
        try:
            yield
        finally:
            self._flush()
            self._gathered = None

    def cut(self, reason: str) -> None:
        """End it at once, without a word to the broker; its end is told as that of any lost connection."""
        if not self.is_closed:
            self._terminate_stream(StreamLostError(reason))  # type: ignore[attr-defined] # not in the stubs

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._gathered is None:
            self._emit(data)
            return
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= _WRITE_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        gathered, self._gathered_bytes = cast("list[bytes]", self._gathered), 0
        if gathered:
            data = b"".join(gathered)
            gathered.clear()
            self._emit(data)

    def _emit(self, data: bytes) -> None:
        if left := data[self._sent_at_once(data) :]:
            super()._adapter_emit_data(left)  # type: ignore[misc] # not in the stubs

    def _sent_at_once(self, data: bytes) -> int:
        """Return how much of `data` the system took just now: pika would ask first whether it does.

        Nothing, where other data waits before it, where pika has given the connection up, or over TLS, which may have
        to read before it writes. An error is none here: pika finds it, too, with what it then tries to send.
        """
        transport = getattr(self, "_transport", None)
        sock = getattr(transport, "_sock", None)
        is_active = getattr(transport, "_state", None) == getattr(transport, "_STATE_ACTIVE", _UNKNOWN)
        if transport is None or not is_active or type(sock) is not socket.socket or transport.get_write_buffer_size():
            return 0
        try:
            return sock.send(data)
        except OSError:
            return 0

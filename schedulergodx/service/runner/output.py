"""What a hard task prints, on its way through the supervisor to the same stream of the service: bounded."""

from __future__ import annotations

import os
import threading

PIECE_BYTES = 64 * 1024


class Output:
    """One standard stream of one task. The thread that copies it is only made when something is printed.

    A thread, since the stream of the service may be a pipe that nobody reads: the supervisor must never wait for it.

    Args:
        stream: the number of the stream.
        bytes_max: what comes after so many bytes is read, and dropped.

    Attributes:
        reading: descriptor that becomes readable when something has been printed.
    """

    def __init__(self, stream: int, bytes_max: int) -> None:
        self._stream = stream
        self._left = bytes_max
        self._bytes_max = bytes_max
        self.reading, self._writing = os.pipe()
        self._thread: threading.Thread | None = None

    def become_stream(self) -> None:
        """In the worker: make what is printed go here."""
        os.dup2(self._writing, self._stream)

    def keep_reading(self) -> None:
        """In the supervisor: let go of the end for writing, so that the task's end can be seen."""
        os.close(self._writing)

    def start(self, piece: bytes = b"") -> None:
        """Copy `piece`, and all from now on, until everybody who can print is gone.

        Where no thread is to be had a piece is dropped.
        """
        thread = threading.Thread(target=self._copy, args=(piece,), daemon=True)
        try:
            thread.start()
        except RuntimeError:
            os.read(self.reading, PIECE_BYTES)
        else:
            self._thread = thread

    def close(self) -> None:
        """Let go of the end for reading, once nothing more is to be copied."""
        os.close(self.reading)

    @property
    def is_copying(self) -> bool:
        """Whether there is a thread for it."""
        return self._thread is not None

    def take_rest(self) -> None:
        """See to what has been printed and not been seen yet. Everybody who could print is gone."""
        if self._thread is None and (
            piece := os.read(self.reading, PIECE_BYTES)
        ):  # nothing, and the end, comes at once
            self.start(piece)

    def finish(self, timeout_s: float) -> None:
        """After `take_rest`: wait at most so long until all that was printed is copied."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _copy(self, piece: bytes) -> None:
        self._pass_on(piece)
        while piece := os.read(self.reading, PIECE_BYTES):
            self._pass_on(piece)

    def _pass_on(self, piece: bytes) -> None:
        if self._left < 0:
            return
        self._write(piece[: self._left])
        self._left -= len(piece)
        if self._left < 0:
            said = f"\nschedulergodx: a task has printed more than {self._bytes_max} bytes here; the rest is dropped\n"
            self._write(said.encode())

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._stream, rest) :]
        except OSError:  # the stream of the service is closed, or its disk full
            self._left = -1

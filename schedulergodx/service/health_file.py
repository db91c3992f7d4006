"""The file beside the database in which a running service tells its health to other processes.

A socket would need a thread that answers, and it would answer while the loop is stuck. A file that the loop itself
writes gets old by itself. It is overwritten in place, so that a full disk does not stop it.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedulergodx.clock import SystemClock
from schedulergodx.service.health import STUCK_S, Health
from schedulergodx.utils.abstractions import ConnectionState, ConnectionStatus, ConsumingStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.utils.logger import CoreLogger

BEAT_S = 2.0
"""How often the file is written."""
_BYTES_MAX = 64 * 1024
"""More is no health file."""
_READS = 5
"""Tries to read it; one that meets the moment of a write is half old and half new."""
_clock = SystemClock()


def health_path(database: Path) -> Path:
    """Return the path of the file that belongs to a database."""
    return Path(f"{database.resolve()}.health")


class HealthFile:
    """Written by the loop of a service between its turns, removed at the end. A failure is logged once, and no more."""

    def __init__(self, database: Path, logger: CoreLogger) -> None:
        self._path = health_path(database)
        self._logger = logger
        self._next_at = 0.0
        self._has_complained = False

    def beat(self, health: Callable[[], Health]) -> None:
        """Write what `health` says, unless that was done a moment ago. Never raises."""
        if (now := _clock.monotonic()) < self._next_at:
            return
        self._next_at = now + BEAT_S
        try:
            _write(self._path, _text(health(), now))
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                self._logger.warning("the health file %s cannot be written: %s", self._path, error.strerror or error)

    def remove(self) -> None:
        """Remove it: a service that has stopped is not ill."""
        with suppress(OSError):
            self._path.unlink()


def read(path: Path) -> Health | None:
    """Return the health that stands in the file, grown older by the time since; None: there is no such file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no health file.
    """
    for _ in range(_READS):
        try:
            with path.open("rb") as file:
                text = file.readline(_BYTES_MAX).rstrip(b"\n").decode()
        except FileNotFoundError:
            return None
        checksum, _, content = text.partition(" ")
        if checksum == _checksum(content):
            return _health(json.loads(content))
    raise ValueError(f"{path} is no health file")


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        os.pwrite(descriptor, f"{_checksum(text)} {text}\n".encode(), 0)
    finally:
        os.close(descriptor)


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def facts(health: Health) -> dict[str, Any]:
    """Return it as JSON data, its moment in UTC."""
    data: dict[str, Any] = json.loads(json.dumps(asdict(health), default=_plain))
    return data


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    assert isinstance(value, ConnectionState), value  # noqa: S101 - nothing else is in it
    return str(value.value)


def _text(health: Health, now: float) -> str:
    return json.dumps(facts(health) | {"monotonic": now})


def _health(data: dict[str, Any]) -> Health:
    now = _clock.monotonic()
    # One from before the machine was started is at least as old as that.
    age_s = now - data["monotonic"] if data["monotonic"] <= now else max(now, 2 * STUCK_S)
    known = {field.name: data[field.name] for field in fields(Health) if field.name in data}
    known["at"] = datetime.fromisoformat(data["at"])
    known["turned_s_ago"] = _later(data["turned_s_ago"], age_s)
    if (consuming := data["consuming"]) is not None:
        changes = {
            "connection": _status(consuming["connection"]),
            "answered_s_ago": _later(consuming["answered_s_ago"], age_s),
        }
        known["consuming"] = ConsumingStatus(**consuming | changes)
    if (publishing := data["publishing"]) is not None:
        known["publishing"] = _status(publishing)
    return Health(**known)


def _status(data: dict[str, Any]) -> ConnectionStatus:
    return ConnectionStatus(**data | {"state": ConnectionState(data["state"])})


def _later(seconds: float | None, age_s: float) -> float | None:
    return None if seconds is None else seconds + age_s

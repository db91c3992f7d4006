"""The local time zone: that of the process, so that every function of C agrees on it."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.world import real

if TYPE_CHECKING:
    from collections.abc import Iterator

_real_localtime = time.localtime
_DAYS = (0, 91, 182, 273)


@contextmanager
def local(zone: tzinfo, now: datetime) -> Iterator[None]:
    """Let `zone` be the local one until the block ends, for the whole process and its children (`TZ`).

    Raises:
        HarnessError: this system does not know it, or cannot change it.
    """
    if _agrees(zone, now) and _agrees(zone, datetime.fromtimestamp(real.time_s(), UTC)):
        yield
        return
    if sys.platform == "win32":
        raise HarnessError(f"the local time zone cannot be set to {zone} on Windows; leave time_zone out")
    before = os.environ.get("TZ")
    try:
        for name in _names(zone, now):
            os.environ["TZ"] = name
            time.tzset()
            if _agrees(zone, now):
                break
        else:
            raise HarnessError(f"this system does not know the time zone {zone}: install its tz database, or tzdata")
        yield
    finally:
        if before is None:
            os.environ.pop("TZ", None)
        else:
            os.environ["TZ"] = before
        time.tzset()


def _names(zone: tzinfo, now: datetime) -> list[str]:
    """Return what could name the zone to the C library."""
    key = getattr(zone, "key", None) or getattr(zone, "zone", None)
    names: list[str] = []
    if key:
        names.append(str(key))
        if (data := sys.modules.get("tzdata")) is not None and data.__file__:
            names.append(f":{Path(data.__file__).parent / 'zoneinfo' / key}")
    offset = now.astimezone(zone).utcoffset() or timedelta()
    minutes = round(abs(offset).total_seconds() / 60)
    sign, other = ("-", "+") if offset < timedelta() else ("+", "-")
    names.append(f"<{sign}{minutes // 60:02}{minutes % 60:02}>{other}{minutes // 60:02}:{minutes % 60:02}")
    return names


def _agrees(zone: tzinfo, now: datetime) -> bool:
    """Return whether the process has this local zone, over a year."""
    moments = [now + timedelta(days=days) for days in _DAYS]
    return all(
        _real_localtime(moment.timestamp()).tm_gmtoff
        == (moment.astimezone(zone).utcoffset() or timedelta()).total_seconds()
        for moment in moments
    )

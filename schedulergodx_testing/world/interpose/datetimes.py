"""`datetime.now`, `datetime.utcnow`, `datetime.today`, `date.today`: real values of the real types, at virtual moments.

The methods of the C types are replaced, not the types: what was imported earlier follows, `isinstance` holds, and a
pickle of such a moment knows nothing of a test.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schedulergodx_testing.world.interpose.patching import Patches
    from schedulergodx_testing.world.scheduler import World


def install(patches: Patches, world: World, time_zone: tzinfo) -> None:
    """Patch them."""
    real_now, real_utcnow, real_today = datetime.now, datetime.utcnow, date.today

    def timestamp() -> float:
        return world.clock.now().timestamp()

    def now(cls: Any, tz: tzinfo | None = None) -> Any:
        if not world.is_mine():
            return _of(cls, real_now(tz))
        moment = cls.fromtimestamp(timestamp(), time_zone if tz is None else tz)
        return moment.replace(tzinfo=None) if tz is None else moment

    def utcnow(cls: Any) -> Any:
        if not world.is_mine():
            return _of(cls, real_utcnow())
        return cls.fromtimestamp(timestamp(), UTC).replace(tzinfo=None)

    def today(cls: Any) -> Any:
        if issubclass(cls, datetime):
            return cls.now()
        day = now(datetime).date() if world.is_mine() else real_today()
        return cls(day.year, day.month, day.day)

    patches.of_type(datetime, "now", classmethod(now))
    patches.of_type(datetime, "utcnow", classmethod(utcnow))
    patches.of_type(date, "today", classmethod(today))


def _of(cls: Any, moment: datetime) -> Any:
    """Return `moment` as an instance of a subclass of datetime."""
    if type(moment) is cls:
        return moment
    return cls(
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond,
        moment.tzinfo,
        fold=moment.fold,
    )

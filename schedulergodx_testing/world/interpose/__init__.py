"""Virtual time for the code under test: `time`, `datetime`, waits of `threading` and `asyncio`, and new threads.

Everything is patched for the whole process and asks, at each call, which thread calls: only the threads of the open
world live in virtual time. pytest's own threads, drivers and connections see the real one, and so does everybody after
the end, when all is put back.

What follows virtual time: the functions of `time` (not CPU times), also under other names, in default arguments and in
classes; `now`, `utcnow` and `today`; every lock and `SimpleQueue`, made here or before; all that waits on
`threading.Condition`; threads that the world's threads start, and pools; selectors, and so asyncio; blocking sockets.

What does not, and how it shows:

- Code in C that waits or reads a clock by itself (child processes, TLS, database drivers, numpy, SQLite's `now`): time
  stands still for as long as it has the baton; longer than the patience is `ThreadStuck`. Its clock is the real one.
- What comes from outside through a socket or a selector has a short real time to come before virtual time passes: a
  service that answers later than that is timed out. So have threads of a driver, or of a pool from before.
- Clocks kept in objects that were made before the first world (`self.timer = time.monotonic`, `default_factory=`).
- `select.poll` and `epoll` used directly, `signal.alarm`, `setitimer` and `sigtimedwait`, and timers of C.
- Times of files, and all that `multiprocessing` waits for.
- The order of sets of objects, which is by address: `asyncio.wait`, `as_completed` of what was done already.
- A loop without any wait, e.g. one that only reads the clock until it is later.
- Platforms: CPython only; on Windows the local time zone stays that of the system.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schedulergodx_testing import foreign_clocks
from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.world.interpose import (
    datetimes,
    locks,
    outlets,
    patching,
    police,
    pools,
    processes,
    selecting,
    sockets,
    sqlite_time,
    threading_waits,
    times,
    zones,
)
from schedulergodx_testing.world.interpose.current import Current

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from schedulergodx_testing.world.scheduler import World

_REGISTERING = (datetimes, locks, outlets, police, processes, selecting, sockets, sqlite_time, threading_waits, times)


@contextmanager
def interposed(world: World, time_zone: tzinfo) -> Iterator[None]:
    """Let the world's threads live in its time until the block ends. `time_zone` is the local one for naive times.

    Raises:
        HarnessError: another world is open, freezegun or time-machine is active, or the zone is unknown here.
    """
    foreign_clocks.refuse()
    if Current.world is not None:
        raise HarnessError("another world of virtual time is open in this process; they do not nest")
    with zones.local(time_zone, world.clock.now()):
        state = random.getstate() if world.is_seeding_random else None
        world.drive_from_here()
        Current.world = world
        try:
            patching.put_in()
            if state is not None:
                random.seed(f"world {world.choices.seed}")
            yield
        finally:
            Current.world = None
            patching.put_back()
            pools.give_back()
            if state is not None:
                random.setstate(state)

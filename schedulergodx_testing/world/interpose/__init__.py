"""Virtual time for the code under test: `time`, `datetime`, waits of `threading` and `asyncio`, and new threads.

Everything is patched for the whole process and asks, at each call, which thread calls: only the threads of the open
world live in virtual time. pytest's own threads, drivers and connections see the real one, and so does everybody after
the end, when all is put back.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.world import others
from schedulergodx_testing.world.interpose import (
    datetimes,
    locks,
    patching,
    police,
    pools,
    processes,
    selecting,
    sockets,
    threading_waits,
    times,
    zones,
)
from schedulergodx_testing.world.interpose.current import Current

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from schedulergodx_testing.world.scheduler import World

_REGISTERING = (datetimes, locks, police, processes, selecting, sockets, threading_waits, times)


@contextmanager
def interposed(world: World, time_zone: tzinfo) -> Iterator[None]:
    """Let the world's threads live in its time until the block ends. `time_zone` is the local one for naive times.

    Raises:
        HarnessError: another world is open, freezegun or time-machine is active, or the zone is unknown here.
    """
    others.refuse()
    if Current.world is not None:
        raise HarnessError("another world of virtual time is open in this process; they do not nest")
    with zones.local(time_zone, world.clock.now()):
        state = random.getstate() if world.is_seeding_random else None
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

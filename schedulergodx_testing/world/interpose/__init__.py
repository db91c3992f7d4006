"""Virtual time for the code under test: `time`, `datetime`, waits of `threading` and `asyncio`, and new threads.

Everything is patched for the whole process and asks, at each call, which thread calls: only the threads of the open
world live in virtual time. pytest's own threads, drivers and connections see the real one, and so does everybody after
the end, when all is put back.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from schedulergodx_testing.world.interpose import datetimes, processes, selecting, threading_waits, times
from schedulergodx_testing.world.interpose.patching import Patches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from schedulergodx_testing.world.scheduler import World


@contextmanager
def interposed(world: World, time_zone: tzinfo) -> Iterator[None]:
    """Let the world's threads live in its time until the block ends. `time_zone` is the local one for naive times."""
    with ExitStack() as stack:
        patches = stack.enter_context(Patches())
        times.install(patches, world, time_zone)
        datetimes.install(patches, world, time_zone)
        threading_waits.install(patches, world)
        selecting.install(patches, world)
        processes.install(patches, world)
        yield

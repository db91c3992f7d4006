"""One world: one virtual clock, and threads of which exactly one runs at a time.

```
scheduler.py    World: whose turn it is, and when time may pass
threads.py      VirtualThread: a real thread that runs only when it is handed the baton
outside.py      the real world beside it: foreign threads, and how long they are waited for
choices.py      every choice between things that could happen next, from a seed or replayed
others.py       freezegun and time-machine are refused
leaks.py        RealWorldLeak: where the code under test takes something from the real world
interpose/      time, waits and threads of the code under test, for the world's own threads only
runner.py       VirtualRunner: a Runner whose threads, and "processes", live in the world
real.py         the system's own functions
```
"""

from schedulergodx_testing.world.leaks import RealWorldLeak
from schedulergodx_testing.world.scheduler import World

__all__ = ["RealWorldLeak", "World"]

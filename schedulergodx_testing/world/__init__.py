"""One world: one virtual clock, and threads of which exactly one runs at a time.

```
scheduler.py    World: whose turn it is, and when time may pass
threads.py      VirtualThread: a real thread that runs only when it is handed the baton
choices.py      every choice between things that could happen next, from a seed or replayed
interpose/      time, waits and threads of the code under test, for the world's own threads only
runner.py       a Runner whose threads, and "processes", live in the world
```
"""

from schedulergodx_testing.world.scheduler import World

__all__ = ["World"]

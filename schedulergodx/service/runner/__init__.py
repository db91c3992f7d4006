"""Running tasks: soft ones in threads, hard ones in processes that can be killed with all they started.

```
service ── threads.py          soft: daemon threads of our own
   │
   ├─ processes.py  reader.py  hard, in the service: what runs, and one thread that reads all pipes
   ├─ link.py                  starts the fork server and hands tasks to it
   ▼
forkserver.py                  one small process without threads, exec'd: the service itself is never forked
   └─ supervisor.py            for each task: adopts and kills every descendant of it
        └─ worker.py           for each task: unpickles, runs, reports, in a session of its own
```

Each supervisor has a channel to the service; when it closes, since the service died, the supervisor kills its tree.
"""

from schedulergodx.service.runner.local import LocalRunner

__all__ = ["LocalRunner"]

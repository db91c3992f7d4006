"""Running tasks: soft ones in threads, hard ones in processes that can be killed with all they started.

```
service ── threads.py          soft: daemon threads of our own
   │
   ├─ processes.py  reader.py  hard, in the service: what runs, and one thread that reads all pipes
   ├─ link.py                  starts the fork server and hands tasks to it
   ▼
forkserver.py                  one small process without threads, exec'd: the service itself is never forked
   └─ supervisor.py            for each task at a time: adopts and kills every descendant of it
        └─ worker.py           for each task: unpickles, runs, reports, in a session of its own
             └─ ending.py      ends as any program does, without taking the interpreter apart
```

A supervisor under which nothing is left has a spare ready: a worker that waits for a task.

Each supervisor has a channel to the service; when it closes, since the service died, the supervisor kills its tree.
"""

from typing import TYPE_CHECKING

from schedulergodx.lazy import importer

if TYPE_CHECKING:
    from schedulergodx.service.runner.local import LocalRunner
else:
    # The fork server is forked for each hard task: what it need not have imported makes each of them slower.
    __getattr__ = importer(__name__, {"LocalRunner": "schedulergodx.service.runner.local"})

__all__ = ["LocalRunner"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

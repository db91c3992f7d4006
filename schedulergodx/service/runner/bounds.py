"""The bounds of a hard task's process, as the system holds them. Used in the process itself."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulergodx.rules.limits import TaskLimits

REPORT_ROOM_BYTES = 32 * 1024 * 1024
"""Address space kept back, so that a task which has used up its own can still be reported."""
CPU_GRACE_S = 1
"""Between SIGXCPU and, for a task that ignores it, SIGKILL."""


def set_bounds(limits: TaskLimits) -> None:
    """Bound this process, and what it will start. What the system allows it is never exceeded. No core is dumped."""
    _set(resource.RLIMIT_CORE, 0, 0)
    if limits.memory_bytes_max is not None:
        _set(resource.RLIMIT_AS, limits.memory_bytes_max, limits.memory_bytes_max + REPORT_ROOM_BYTES)
    if limits.cpu_s_max is not None:
        _set(resource.RLIMIT_CPU, limits.cpu_s_max, limits.cpu_s_max + CPU_GRACE_S)
    for kind, most in (
        (resource.RLIMIT_NOFILE, limits.open_files_max),
        (resource.RLIMIT_NPROC, limits.processes_max),
        (resource.RLIMIT_FSIZE, limits.file_bytes_max),
    ):
        if most is not None:
            _set(kind, most, most)


def _set(kind: int, soft: int, hard: int) -> None:
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))


def give_room() -> None:
    """Let the report of a task that has used up its memory be made."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):  # the task has changed its bounds itself
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))

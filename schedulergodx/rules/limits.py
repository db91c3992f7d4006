"""What one hard task may use: the bounds that a launch and a service name, and the one that counts."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskLimits:
    """Bounds of one hard task; None: no bound of its own. The system holds them for each process, not for the sum.

    Attributes:
        memory_bytes_max: address space; beyond it the task gets a `MemoryError` (macOS does not keep to it).
        cpu_s_max: seconds of computing; beyond it the process is killed by SIGXCPU.
        open_files_max: open descriptors; beyond it opening raises `OSError`.
        processes_max: processes and threads of the service's *user*, all together, above which the task can make no
            more (`BlockingIOError`). Root has no such bound.
        file_bytes_max: size of each file that it writes; beyond it writing raises `OSError`.
    """

    memory_bytes_max: int | None = None
    cpu_s_max: int | None = None
    open_files_max: int | None = None
    processes_max: int | None = None
    file_bytes_max: int | None = None

    def given(self) -> dict[str, int]:
        """Return the bounds that there are, by name."""
        return {name: value for name in _NAMES if (value := getattr(self, name)) is not None}

    def within(self, caps: TaskLimits) -> TaskLimits:
        """Return the lower one of each bound and its cap: a service's caps are also what a task has without a wish."""
        wished, most = self.given(), caps.given()
        return TaskLimits(
            **{name: min(bounds[name] for bounds in (wished, most) if name in bounds) for name in wished | most}
        )


_NAMES = tuple(field.name for field in fields(TaskLimits))
NO_LIMITS = TaskLimits()

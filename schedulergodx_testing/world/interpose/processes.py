"""What ends or signals the process: a hard task does it to its virtual process, never to the test's own."""

from __future__ import annotations

import os
import signal
from typing import Any, NoReturn

from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.world.interpose import current, patching
from schedulergodx_testing.world.threads import VirtualKill

_HARMLESS = {0, *(getattr(signal, name, 0) for name in ("SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH"))}
_real_exit, _real_abort, _real_kill = os._exit, os.abort, os.kill
_real_raise = signal.raise_signal


def _end(status: int, what: str) -> None:
    """End the virtual process of the calling thread; return where there is no world."""
    world = current.world()
    thread = None if world is None else world.current()
    if thread is None:
        return
    if thread.process is None:
        raise HarnessError(
            f"{what} in a soft task ends the whole service in production. Here it would end the test run, so it is "
            "refused. Launch the task as a hard one, or let crash_service() end the service."
        )
    thread.process.status = status
    thread.process.is_killed = True
    raise VirtualKill


def _exit(status: int) -> NoReturn:
    _end(status & 0xFF, "os._exit")
    _real_exit(status)


def _abort() -> NoReturn:
    _end(-signal.SIGABRT, "os.abort")
    _real_abort()


def _kill(pid: int, number: int) -> None:
    if pid == os.getpid() and number not in _HARMLESS:
        _end(-number, "os.kill of the own process")
    _real_kill(pid, number)


def _raise(number: int) -> None:
    if number not in _HARMLESS:
        _end(-number, "signal.raise_signal")
    _real_raise(number)


def _kill_group(real_kill_group: Any) -> Any:
    def kill_group(group: int, number: int) -> None:
        if group in (0, os.getpgrp()) and number not in _HARMLESS:
            _end(-number, "os.killpg of the own group")
        real_kill_group(group, number)

    return kill_group


patching.function(os, "_exit", _exit)
patching.function(os, "abort", _abort)
patching.function(os, "kill", _kill)
patching.function(signal, "raise_signal", _raise)
if hasattr(os, "killpg"):
    patching.function(os, "killpg", _kill_group(os.killpg))

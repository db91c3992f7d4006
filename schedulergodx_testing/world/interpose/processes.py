"""What ends or signals the process: a hard task does it to its virtual process, never to the test's own."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn

from schedulergodx_testing.world.threads import VirtualKill

if TYPE_CHECKING:
    from schedulergodx_testing.world.interpose.patching import Patches
    from schedulergodx_testing.world.scheduler import World


class VirtualExit(VirtualKill):
    """The end of a virtual process by its own hand.

    Attributes:
        status: the exit status, or minus the number of the signal, as `subprocess` has it.
    """

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


def install(patches: Patches, world: World) -> None:
    """Patch `os._exit`, `os.abort` and `os.kill` of the own process."""
    real_exit, real_abort, real_kill = os._exit, os.abort, os.kill

    def is_virtual_process() -> bool:
        thread = world.current()
        return thread is not None and thread.is_process

    def exit_(status: int) -> NoReturn:
        if is_virtual_process():
            raise VirtualExit(status)
        real_exit(status)

    def abort() -> NoReturn:
        if is_virtual_process():
            raise VirtualExit(-signal.SIGABRT)
        real_abort()

    def kill(process_id: int, number: int) -> None:
        if process_id == os.getpid() and number and is_virtual_process():
            raise VirtualExit(-number)
        real_kill(process_id, number)

    patches.attribute(os, "_exit", exit_)
    patches.attribute(os, "abort", abort)
    patches.attribute(os, "kill", kill)

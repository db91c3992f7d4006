"""`Baton`: the driver's side of handing it over: waiting until it comes back, and what if it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx_testing.world import outside

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx_testing.world.threads import VirtualThread
    from schedulergodx_testing.world.turns import Turns

INTERRUPT_S = 0.5
"""How long a thread that runs on has for its end, once that was raised in it."""
_END_S = 0.5
"""How long a run may go on to its end or its next wait, once the driver was interrupted."""


class Baton:
    """Who has it, seen by the test's own thread.

    Args:
        turns: whose turn it is.
        forget: told of a run that is over and whose end the driver does not hear of, since it was interrupted.
        patience_s: real seconds that a run, or a turn that is done for the driver, may take.

    Attributes:
        lost: the threads that have not given it back, and go on without it.
    """

    def __init__(self, turns: Turns, forget: Callable[[VirtualThread], None], patience_s: float) -> None:
        self.lost: list[VirtualThread] = []
        self._turns = turns
        self._forget = forget
        self._patience_s = patience_s

    def hand_over(self, thread: VirtualThread, *, may_be_followed: bool) -> tuple[VirtualThread, bool]:
        """Hand it to a thread. Return who had it last, which may be one that has followed, and whether it came back."""
        turns = self._turns
        turns.running, turns.may_follow = thread, may_be_followed
        try:
            known = turns.progress()
            came_back = thread.hand_over(self._patience_s)
            while not came_back and turns.progress() != known:
                known = turns.progress()  # each that has followed, and each turn, has its own time
                came_back = thread.has_baton_back(self._patience_s)
        except BaseException as error:  # the driver was interrupted
            where = turns.running.stack()
            if self._take_over(run_s=_END_S):
                self._forget(turns.running)
            else:
                error.add_note(where)
            raise
        came_back = came_back or self._take_over(run_s=0)
        return turns.running, came_back

    def _take_over(self, *, run_s: float) -> bool:
        """Wait for what a worker does for the driver, and so long for a run, and take it.

        Returns whether it could be had; else it is lost.
        """
        turns = self._turns
        turns.may_follow = False
        try:
            outside.poll(lambda: turns.running.has_given_back or not turns.running.is_done, self._patience_s)
            outside.poll(lambda: turns.running.has_given_back, run_s)
        finally:
            thread = turns.running
            is_back = thread.has_given_back
            if is_back:
                thread.take_baton()
            else:
                self.lose(thread)
                if thread.is_done:  # it hangs in a turn
                    thread.interrupt(INTERRUPT_S)
        return is_back

    def lose(self, thread: VirtualThread) -> None:
        """Note that a thread runs on, out of control."""
        thread.is_lost = True
        if thread in self._turns.threads:
            self._turns.threads.remove(thread)
        self.lost.append(thread)

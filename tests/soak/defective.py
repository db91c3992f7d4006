"""`schedulergodx service` with a mistake in it, so that a soak can be seen to find it.

`python -m tests.soak.defective MISTAKE service …`
"""

from __future__ import annotations

import sys
from queue import SimpleQueue
from typing import TYPE_CHECKING

from schedulergodx import cli
from schedulergodx.clock import SystemClock
from schedulergodx.service.loop import Loop
from schedulergodx.service.runs import Runs
from schedulergodx.utils.abstractions import Delivery

if TYPE_CHECKING:
    from datetime import datetime

    from schedulergodx.service.turn import Turn
    from schedulergodx.utils.abstractions import ServiceEvent

WINDOW_S = 0.3
"""How long what was acked is not stored yet: long enough to be hit by a kill."""
_turn = Loop._turn


def _ack_before_commit(self: Loop, events: list[ServiceEvent]) -> None:
    if deliveries := [event for event in events if isinstance(event, Delivery)]:
        self._transport.ack(deliveries)
        SystemClock().wait_for(SimpleQueue(), WINDOW_S)
    _turn(self, events)


def _start_again(self: Runs, _turn: Turn, *, now: datetime) -> None:
    self._storage._changing().change("UPDATE tasks SET status = 0, epoch = NULL WHERE status = 1", ())


MISTAKES = {
    "ack before commit": lambda: setattr(Loop, "_turn", _ack_before_commit),
    "start again what was interrupted": lambda: setattr(Runs, "report_interrupted", _start_again),
}


if __name__ == "__main__":
    MISTAKES[sys.argv.pop(1)]()
    sys.exit(cli.main())

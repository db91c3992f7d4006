"""Removing the demo's queues from a broker that outlives the demo."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING

from schedulergodx import transport as transports
from schedulergodx.clock import SystemClock
from schedulergodx.utils.abstractions import Outgoing, QueueSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schedulergodx.errors import BrokerError
    from schedulergodx.utils.abstractions import Transport

_CONFIRM_S = 3.0
_PROBE_EXPIRES_S = 1.0


def remove_queues(url: str, names: Sequence[str], *, probe: str) -> bool:
    """Delete queues with all that is in them; return False if the broker did not answer within a few seconds.

    A transport deletes only while it is connected, and does not say when that is done. But it declares and deletes in
    order, and what is published is confirmed: so a message is sent once before and once after, each to a new queue,
    `<probe>-1` and `<probe>-2`, that expires by itself.
    """
    transport = transports.connect(url, name="demo-cleaner")
    try:
        if not _is_confirmed(transport, f"{probe}-1"):
            return False
        for name in names:
            transport.delete_queue(name)
        return _is_confirmed(transport, f"{probe}-2")
    finally:
        transport.close(1.0)


def _is_confirmed(transport: Transport, probe: str) -> bool:
    settled: SimpleQueue[tuple[BrokerError | None]] = SimpleQueue()
    transport.declare(QueueSpec(name=probe, expires_after_s=_PROBE_EXPIRES_S))
    transport.publish(
        Outgoing(queue=probe, body=b"", message_id=probe, on_settled=lambda _, error: settled.put((error,)))
    )
    return SystemClock().wait_for(settled, _CONFIRM_S) == (None,)

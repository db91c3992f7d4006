"""Pickles that harm whoever loads them: each ends its own task, in whose bounds it is loaded; the service goes on."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from schedulergodx import Client, TaskFailed
from schedulergodx.clock import SystemClock
from schedulergodx.rules.limits import TaskLimits
from schedulergodx.transport import connect_really
from schedulergodx.utils.message import envelope, launches
from schedulergodx.utils.message.payload import Packed
from schedulergodx_testing.contracts.recorder import publish

if TYPE_CHECKING:
    from tests.acceptance.helpers.programs import Program

pytestmark = pytest.mark.slow

WAIT_S = 30.0
BOUND_BYTES = 256 * 1024**2
MEMO_OF_2_GB = b"\x80\x04Nr\xff\xff\xff\x07."
"""Ten bytes: None, kept under the number 134,217,727; the table of what is kept gets as long as that."""
TEXT_OF_1_TIB = b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b"x."
NESTED = b"]" + b"\x85" * 1_000_000 + b"."


class Harm:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


def bomb(client: Client, data: bytes, url: str, queue: str, message_id: str) -> str:
    """Launch a hard task with these bytes as its pickled arguments, as no client of ours makes it."""
    packed = Packed(
        name="bomb",
        function=None,
        reference="builtins:len",
        code_digest="",
        arguments=data,
        arguments_by_value=None,
    )
    message = launches.envelope_of(
        packed,
        message_id=message_id,
        client=client.name,
        reply_to="",
        issued_at=SystemClock().now(),
        run_at=None,
        is_hard=True,
        lifetime_s=WAIT_S,
        is_overdue_enabled=False,
        limits=TaskLimits(memory_bytes_max=BOUND_BYTES),
    )
    with closing(connect_really(url, name="attacker")) as transport:
        publish(transport, queue, envelope.build(message))
    return message_id


def test_bytes_that_explode_are_a_bad_payload(
    service: Program, client: Client, broker_url: str, request_queue: str
) -> None:
    """A table of 2 GB, a text of 1 TiB, a million levels: its outcome says so, and the next task runs."""
    assert client.task(len).launch("a").result(WAIT_S) == 1  # the service is there, and its queue
    for number, data in enumerate((MEMO_OF_2_GB, TEXT_OF_1_TIB, NESTED)):
        message_id = bomb(client, data, broker_url, request_queue, f"bomb-{number}-{request_queue}")
        with pytest.raises(TaskFailed) as failed:
            client.result(message_id, WAIT_S)
        assert failed.value.code == "BAD_PAYLOAD", failed.value
    assert client.task(len, hard=True).launch("abc").result(WAIT_S) == 3
    assert not service.matching("Traceback")


@pytest.mark.parametrize(
    ("harm", "lifetime_s", "code"),
    [
        (Harm(time.sleep, 3600), 1.0, "TASK_TIMEOUT"),
        (Harm(os._exit, 0), WAIT_S, "TASK_EXITED"),
        (Harm(int, "no number"), WAIT_S, "BAD_PAYLOAD"),
        (Harm(signal.raise_signal, signal.SIGKILL), WAIT_S, "TASK_KILLED"),
        (Harm(bytearray, 2**40), WAIT_S, "BAD_PAYLOAD"),
    ],
    ids=["sleeps", "exits", "raises", "kills", "wants a terabyte"],
)
def test_an_argument_that_harms_when_it_is_unpickled(client: Client, harm: Harm, lifetime_s: float, code: str) -> None:
    """It is unpickled in the hard task's own process, within its bounds; the next task runs."""
    task = client.task(id, hard=True, hard_task_lifetime=lifetime_s, memory_bytes_max=BOUND_BYTES)
    with pytest.raises(TaskFailed) as failed:
        task.launch(harm).result(WAIT_S)
    assert failed.value.code == code, failed.value
    assert client.task(len, hard=True).launch("abc").result(WAIT_S) == 3

"""`memory://name` within one process, and what importing the testing package costs."""

from __future__ import annotations

import subprocess
import sys
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from schedulergodx import transport
from schedulergodx.errors import InvalidParameter
from schedulergodx.utils.abstractions import ConnectionState, Delivery, Outgoing, QueueSpec
from schedulergodx_testing.memory import forget_named_broker, named_broker

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 10.0


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    for name in ("shop", "other", "shop/orders"):
        forget_named_broker(name)


def send(url: str, body: bytes) -> None:
    """Publish over a transport of its own, and wait until it is kept."""
    settled: SimpleQueue[object] = SimpleQueue()
    sender = transport.connect(url, name="sender")
    sender.declare(QueueSpec(name="q"))
    sender.publish(Outgoing(queue="q", body=body, message_id="1", on_settled=lambda _, error: settled.put(error)))
    assert settled.get(timeout=WAIT_S) is None
    sender.close()


def receive(url: str) -> bytes:
    """Return the body of the first message, over a transport of its own."""
    deliveries: SimpleQueue[Delivery] = SimpleQueue()
    receiver = transport.connect(url, name="receiver")
    receiver.listen(lambda event: deliveries.put(event) if isinstance(event, Delivery) else None)
    receiver.consume(QueueSpec(name="q"), prefetch=1)
    body = deliveries.get(timeout=WAIT_S).body
    receiver.close()
    return body


def test_one_name_is_one_broker() -> None:
    """What is sent to a name is received from it; another name, or path, is another broker."""
    send("memory://shop", b"for the shop")
    send("memory://other", b"for another")
    send("memory://shop/orders", b"for orders")
    assert receive("memory://shop") == b"for the shop"
    assert receive("memory://shop/orders") == b"for orders"
    assert receive("memory://other") == b"for another"


def test_the_name_is_without_a_password() -> None:
    """User and password in the URL name nothing and are not kept."""
    made = transport.connect("memory://ann:secret@shop/", name="me")
    assert made.status().broker == "memory://shop"
    assert list(named_broker("shop").queues) == []


def test_a_forgotten_broker_is_closed_and_empty() -> None:
    """Its transports are closed, and the next one under the name begins with nothing."""
    send("memory://shop", b"old")
    left = transport.connect("memory://shop", name="left")
    forget_named_broker("shop")
    assert left.status().state is ConnectionState.CLOSED
    assert list(named_broker("shop").queues) == []


@pytest.mark.parametrize("url", ["memory://", "memory:///", "memory://ann@"])
def test_a_url_without_a_name_is_refused(url: str) -> None:
    """There is no broker without a name."""
    with pytest.raises(InvalidParameter, match="memory://name"):
        transport.connect(url, name="me")


@pytest.mark.slow
def test_importing_the_testing_package_is_enough_and_loads_nothing() -> None:
    """It makes `memory://` known, and loads neither this library nor pytest nor Hypothesis before that is used."""
    program = (
        "import sys, schedulergodx_testing\n"
        "heavy = {'pytest', 'hypothesis', 'schedulergodx', 'pika'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from schedulergodx.transport import connect\n"
        "print(connect('memory://x', name='me').status().broker)\n"
        "heavy = {'pytest', 'hypothesis', 'pika'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("memory://x\n", "")

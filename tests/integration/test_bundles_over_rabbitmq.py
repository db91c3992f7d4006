"""Answers over a real RabbitMQ: together for who reads bundles, one by one for who does not, and all of them."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from schedulergodx import Client, KeyRing
from schedulergodx.clock import SystemClock
from schedulergodx.transport import connect_really
from schedulergodx.utils.abstractions import QueueSpec
from schedulergodx.utils.keys.ring import new_key
from schedulergodx.utils.message import MessageConstructor, bundles
from schedulergodx.utils.message.signature import Direction, Signatures
from schedulergodx_testing.contracts.recorder import consume, publish
from tests.integration.test_signed_over_rabbitmq import REQUESTS, WAIT_S, double, serving

if TYPE_CHECKING:
    from pathlib import Path

    from schedulergodx.utils.abstractions import Delivery

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

TASKS = 300


def launches(queue: str, signatures: Signatures, **said: bool) -> list[bytes]:
    """Return signed launches, as a program of somebody else makes them."""
    now = SystemClock().now().isoformat()
    told = {"reply_to": queue, "issued_at": now, "python": "", "cloudpickle": ""} | said
    tasks = [
        MessageConstructor.task(f"{queue}-{number}", "foreign", None, abs, (number,), {}) for number in range(TASKS)
    ]
    return [signatures.sign(Direction.REQUEST, "foreign", json.dumps(task | told).encode()) for task in tasks]


@pytest.mark.parametrize("takes_bundles", [True, False])
def test_who_reads_bundles_gets_few_messages_and_who_does_not_gets_each(
    rabbitmq_vhost_url: str, tmp_path: Path, takes_bundles: bool
) -> None:
    """Each answer is there once, with its own signature, in either way."""
    url, ring = rabbitmq_vhost_url, KeyRing([new_key()])
    signatures = Signatures(lambda: ring, queue=REQUESTS.name, clock=SystemClock())
    queue = QueueSpec(name="service-client.foreign.1")
    with closing(connect_really(url, name="foreign")) as transport:
        recorder = consume(transport, queue, prefetch=TASKS)
        transport.declare(REQUESTS)
        publish(
            transport, REQUESTS.name, *launches(queue.name, signatures, **({"bundles": True} if takes_bundles else {}))
        )
        deliveries: list[Delivery] = []
        heard: list[int] = []
        with serving(url, tmp_path, SCHEDULERGODX_KEYS=ring.text()):
            while len(heard) < TASKS:
                deliveries.append(recorder.delivery())
                for message in bundles.cut(deliveries[-1].body):
                    answer = json.loads(signatures.open(Direction.ANSWER, message).body)
                    assert answer["id"] == f"{queue.name}-{answer['arguments']['result']}"
                    heard.append(answer["arguments"]["result"])
                transport.ack([deliveries[-1]])
    assert sorted(heard) == list(range(TASKS))
    assert (len(deliveries) < TASKS / 2) is takes_bundles
    assert takes_bundles or len(deliveries) == TASKS


def test_a_client_hears_every_answer_of_a_burst(rabbitmq_vhost_url: str, tmp_path: Path) -> None:
    """Launched together before the service is there, signed; its results come in bundles."""
    ring = KeyRing([new_key()])
    with Client("shop", url=rabbitmq_vhost_url, keys=ring) as client:
        task = client.task(double)
        with client.batch():
            launched = [task.launch(number) for number in range(TASKS)]
        with serving(rabbitmq_vhost_url, tmp_path, SCHEDULERGODX_KEYS=ring.text()):
            assert [one.result(WAIT_S) for one in launched] == [2 * number for number in range(TASKS)]

"""Bundles over a real RabbitMQ: of answers, for who reads them; of launches, with a bad one among them; all arrive."""

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


def test_launches_of_a_batch_are_few_messages_and_a_bad_one_costs_only_itself(
    rabbitmq_vhost_url: str, tmp_path: Path
) -> None:
    """Every launch runs but one, that is made bad on the way; its bundle is in the dead letters, with the reason."""
    url, ring = rabbitmq_vhost_url, KeyRing([new_key()])
    with Client("shop", url=url, keys=ring) as client, closing(connect_really(url, name="between")) as transport:
        task = client.task(double)
        with client.batch():
            launched = [task.launch(number) for number in range(TASKS)]
        recorder = consume(transport, REQUESTS, prefetch=TASKS)
        bodies, ids = [], list(map(str, launched))
        while sum(map(bundles.count, bodies)) < TASKS:
            delivery = recorder.delivery()
            bodies.append(delivery.body)
            transport.ack([delivery])
        transport.stop_consuming()
        assert len(bodies) < TASKS / 2
        messages = [message for body in bodies for message in bundles.cut(body)]
        assert [json.loads(message.partition(b"\n")[2])["id"] for message in messages] == ids
        messages[7] = messages[7].replace(b'"type":3', b'"type":1')  # it stays JSON; its signature is wrong now
        again = [bundles.join(messages[first : first + 50]) for first in range(0, TASKS, 50)]
        publish(transport, REQUESTS.name, *again, again[1])
        dead = consume(transport, QueueSpec(name=REQUESTS.dead_letter_name), prefetch=10)
        with serving(url, tmp_path, SCHEDULERGODX_KEYS=ring.text()):
            good = [one for place, one in enumerate(launched) if place != 7]
            assert [one.result(WAIT_S) for one in good] == [2 * number for number in range(TASKS) if number != 7]
            assert dead.delivery().body == again[0]

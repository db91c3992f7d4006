"""Launches that travel together, over a broker that repeats, refuses and loses: each is stored once, none is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schedulergodx import BatchFailed, Client, KeyRing
from schedulergodx.errors import QueueFull
from schedulergodx.service import unproven
from schedulergodx.utils.abstractions import Outgoing
from schedulergodx.utils.keys.ring import Key
from schedulergodx.utils.message import bundles
from schedulergodx_testing import Harness, invariants, survives_crashes
from schedulergodx_testing.answered import ids_of
from schedulergodx_testing.errors import ClientCrashed

if TYPE_CHECKING:
    from schedulergodx import MessageId

client = Client(name="shop")
TASKS = 30


@client.task
def double(number: int) -> int:
    return 2 * number


def ring_of(letter: str) -> KeyRing:
    return KeyRing([Key(key_id="k1", secret=letter.encode() * 32)])


def launch(count: int = TASKS) -> list[MessageId[int]]:
    with client.batch():
        return [double.launch(number) for number in range(count)]


def requests(scheduler: Harness) -> list[tuple[str, ...]]:
    """Return which launches are in each message of the request queue."""
    queue = scheduler.broker.queues["client-service"]
    return [ids_of(message) for message in (*queue.ready, *queue.unacked)]


def test_a_batch_travels_in_few_messages(scheduler: Harness) -> None:
    """Each is acked once; every launch is confirmed, stored, run and answered by itself, with its own lines."""
    launched = launch()
    scheduler.run_until_idle()
    names = [call.name for call in scheduler.calls.all]
    assert names.count("client.publish") < TASKS / 3
    assert [message_id.result() for message_id in launched] == [2 * number for number in range(TASKS)]
    assert set(scheduler.ledger.confirmed) == set(launched)
    for message_id in launched:
        lines = [entry.what for entry in scheduler.timeline.of(message_id) if entry.lane == "broker"]
        assert [line.split(":")[0] for line in lines].count("confirmed") == 2, lines  # of the launch, of its answer
    invariants.require(scheduler, is_over=True)


def test_what_waits_in_the_queue_is_known_by_its_launches() -> None:
    """While no service is there, nothing of a bundle counts as lost."""
    with Harness() as scheduler:
        scheduler.stop_service()
        launched = launch()
        waiting = requests(scheduler)
        assert len(waiting) < TASKS / 3
        assert [one for ids in waiting for one in ids] == launched
        invariants.require(scheduler)
        scheduler.start_service()
        assert [message_id.result() for message_id in launched] == [2 * number for number in range(TASKS)]


def test_a_bundle_that_the_broker_repeats_makes_no_second_task(scheduler: Harness) -> None:
    """Kept twice and delivered twice: each launch has one row and one run."""
    double.launch(0).result()
    scheduler.broker.faults.repeat_message("client-service", times=3)
    scheduler.broker.faults.repeat_delivery("client-service", times=3)
    launched = launch()
    scheduler.run_until_idle()
    assert [message_id.result() for message_id in launched] == [2 * number for number in range(TASKS)]
    invariants.require(scheduler, is_over=True)


def test_a_connection_that_is_lost_sends_bundles_again(scheduler: Harness) -> None:
    """At every moment of the way out: nothing is lost, nothing runs twice."""
    for moment in range(1, 25, 3):
        scheduler.broker.faults.cut_at(moment, "shop")
        launched = launch(8)
        assert [message_id.result() for message_id in launched] == [2 * number for number in range(8)]
    scheduler.run_until_idle()
    invariants.require(scheduler, is_over=True)


def test_a_full_queue_fails_each_launch_of_a_bundle(scheduler: Harness) -> None:
    """With an error of its own; what the broker has kept runs."""
    double.launch(0).result()
    scheduler.stop_service()
    scheduler.broker.set_limit("client-service", 1)
    with pytest.raises(BatchFailed) as caught:
        launch()
    failed = caught.value.errors
    assert len(failed) == TASKS - 1
    for message_id, error in failed.items():
        assert isinstance(error, QueueFull)
        assert error.message_id == message_id
    assert len(requests(scheduler)) == 1
    invariants.require(scheduler)


def test_a_broker_with_a_small_limit_gets_what_it_takes(scheduler: Harness) -> None:
    """It refuses bundles that are too large for it: their launches go one by one, and only the large one fails."""
    hub = scheduler.broker._hub
    hub.profile = replace(hub.profile, message_bytes_max=3000)

    def launch_one_that_is_too_large() -> list[MessageId[int]]:
        with client.batch():
            launched = [double.launch(number) for number in range(6)]
            double.launch("x" * 5000)  # type: ignore[arg-type]
            return launched + [double.launch(number) for number in range(6)]

    with pytest.raises(BatchFailed, match="1 of 13 launches failed") as caught:
        launch_one_that_is_too_large()
    [failed] = caught.value.errors
    launched = [launch.message_id for launch in scheduler.launched if launch.message_id != failed]
    scheduler.run_until_idle()
    assert [client.result(message_id) for message_id in launched] == [0, 2, 4, 6, 8, 10] * 2
    invariants.require(scheduler, is_over=True)


def test_what_is_no_launch_travels_alone(scheduler: Harness) -> None:
    """A message of one's own within a batch takes its turn among the bundles."""
    scheduler.stop_service()
    with client.batch():
        first = [double.launch(number) for number in range(3)]
        client.push({"id": "note", "client": "shop", "type": 1, "arguments": {}})
        last = [double.launch(number) for number in range(3)]
    waiting = requests(scheduler)
    assert ("note",) in waiting
    assert [one for ids in waiting for one in ids] == [*first, "note", *last]


@pytest.mark.parametrize("window", ["W4", "W5", "W6"])
def test_a_crash_of_the_service_around_a_bundle_makes_no_second_task(scheduler: Harness, window: str) -> None:
    """Stored or not, the bundle comes again as a whole, and each launch in it is known by its id."""
    double.launch(0).result()
    crash = scheduler.crash_at(window)
    launched = launch(8)
    scheduler.run_until_idle()
    assert crash.has_happened
    scheduler.start_service()
    scheduler.run_until_idle()
    assert all(client.outcome(message_id) for message_id in launched)
    invariants.require(scheduler, is_over=True)


@pytest.mark.parametrize(("window", "n"), [("W1", 1), ("W1", 2), ("W2", 1), ("W2", 2)])
def test_a_crash_of_the_client_around_a_bundle_ends_every_launch_of_it(scheduler: Harness, window: str, n: int) -> None:
    """Each has its error, and what the broker has runs, all of a bundle or nothing."""
    crash = scheduler.crash_at(window, n=n)
    with pytest.raises((BatchFailed, ClientCrashed)):
        launch(8)
    assert crash.has_happened
    scheduler.run_until_idle()
    ids = [one.message_id for one in scheduler.launched]
    shop = scheduler.new_client(name="next")
    stored = [message_id for message_id in ids if scheduler.outcome(message_id) is not None]
    assert [shop.result(message_id) for message_id in stored] == [2 * number for number in range(len(stored))]
    invariants.require(scheduler, is_over=True)


@pytest.mark.slow
@survives_crashes(service=True, broker=True)
def test_no_moment_loses_a_launch_of_a_bundle(scheduler: Harness) -> None:
    """Service and broker are killed at every call."""
    launched = launch(4)
    scheduler.run_until_idle()
    assert all(client.outcome(message_id) for message_id in launched)


def test_one_bad_launch_in_a_bundle_costs_only_itself(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed on its way: the others run, and the bundle is in the dead letters with the place and the reason."""

    def changed(message: bytes) -> bytes:
        return message.replace(b'"type":3', b'"type":7')

    whole = bundles.join
    monkeypatch.setattr(bundles, "join", lambda messages: whole([*messages[:-1], changed(messages[-1])]))
    launched = launch(8)
    scheduler.advance(seconds=1)
    queue = scheduler.broker.queues["client-service"]
    assert 0 < len(queue.dead_letters) < 4
    for message in queue.dead_letters:
        count = bundles.count(message.body)
        assert message.reason.startswith(f"UNKNOWN_TYPE: message {count} of {count}: type the number 7")
    outcomes = [client.outcome(message_id) for message_id in launched]
    assert outcomes.count(None) == len(queue.dead_letters)
    assert queue.ready == queue.unacked == ()


def publish_as_is(scheduler: Harness, *bodies: bytes) -> None:
    """Send messages of the test's own making."""
    sender = scheduler.broker.transport("sender")
    for body in bodies:
        sender.publish(Outgoing(queue="client-service", body=body, message_id="", on_settled=lambda *_: None))


@pytest.mark.parametrize("has_good_one", [False, True])
def test_a_flood_of_bundles_with_wrong_signatures_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, has_good_one: bool
) -> None:
    """A bundle counts once, with all its bytes, also when somebody has put a message in it that he has seen."""
    monkeypatch.setattr(unproven, "KEPT_MAX", 2)
    with Harness(service={"keys": ring_of("k")}, client={"keys": ring_of("x")}) as scheduler:
        scheduler.stop_service()
        stranger, good = scheduler.client, scheduler.new_client(name="good", keys=ring_of("k"))
        launched = good.task(double.func).launch(4)
        stranger.task(double.func).launch(5)
        mine, wrong = [message.body for message in scheduler.broker.queues["client-service"].ready]
        flood = bundles.join([mine, wrong, wrong] if has_good_one else [wrong, wrong, wrong])
        publish_as_is(scheduler, *[flood] * 4)
        scheduler.start_service()
        scheduler.advance(seconds=1)
        queue = scheduler.broker.queues["client-service"]
        assert (len(queue.dead_letters), queue.ready, queue.unacked) == (2, (), ())
        place = "message 2 of 3: " if has_good_one else "message 1 of 3: "
        assert queue.dead_letters[1].reason.startswith(f"BAD_SIGNATURE: {place}")
        assert caplog.text.count("message with a wrong signature dropped") == 3
        assert launched.result() == 8


def test_a_bundle_of_several_clients_is_taken() -> None:
    """Each message has its own signature: whoever joins them is nobody's matter."""
    with Harness(service={"keys": ring_of("k")}, client={"keys": ring_of("k")}) as signed:
        signed.stop_service()
        others = [signed.client, signed.new_client(name="other", keys=ring_of("k"))]
        launched = [one.task(double.func).launch(number) for number, one in enumerate(others)]
        bodies = [message.body for message in signed.broker.queues["client-service"].ready]
        publish_as_is(signed, bundles.join(bodies))
        signed.start_service()
        assert [message_id.result() for message_id in launched] == [0, 2]
        invariants.require(signed)

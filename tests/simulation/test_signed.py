"""Clients and a service with keys: what gets through, what does not, and keys that are renewed while all goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schedulergodx import KeyRing, KeysRefused
from schedulergodx.utils.abstractions import Outgoing
from schedulergodx.utils.keys.files import write_key_file
from schedulergodx.utils.keys.ring import Key, new_key
from schedulergodx_testing import Harness

OLD, NEW, OTHER = (Key(key_id=name, secret=name.encode() * 12) for name in ("old", "new", "other"))
REQUESTS = "client-service"


def harness(*service_keys: Key, client_keys: KeyRing | None = None, **service) -> Harness:
    """Return a harness whose service has these keys, and whose client has the same, unless others are given."""
    ring = KeyRing(service_keys)
    return Harness(service={"keys": ring, **service}, client={"name": "shop", "keys": client_keys or ring})


def send(scheduler: Harness, body: bytes, queue: str = REQUESTS) -> None:
    """Put a message into a queue, as whoever reaches the broker can."""
    scheduler.run_until_idle()  # the queue is there then
    outgoing = Outgoing(queue=queue, body=body, message_id="x", on_settled=lambda _, error: None)
    scheduler.broker.transport("intruder").publish(outgoing)
    scheduler.run_until_idle()


def dead(scheduler: Harness) -> list[str]:
    """Return why messages are dead letters."""
    return [letter.reason for letter in scheduler.broker.queues[REQUESTS].dead_letters]


def seen_in(scheduler: Harness, queue: str, what) -> list[bytes]:
    """Return the messages that pass a queue while `what` is done, with the service down."""
    scheduler.stop_service()
    what()
    scheduler.run_until_idle()
    return [message.body for message in scheduler.broker.queues[queue].ready]


def test_signed_tasks_run_and_launch_others_and_are_answered():
    """Also tasks that launch tasks, hard ones, and questions of another client for an outcome."""
    with harness(NEW, OLD) as scheduler:
        client = scheduler.client
        double = client.task(lambda number: 2 * number)

        @client.task(hard=True)
        def outer(number: int) -> str:
            return str(double.launch(number))

        inner = outer.launch(4).result()
        assert client.result(inner) == 8
        assert scheduler.new_client(name="shop", keys=KeyRing([NEW])).result(inner) == 8
        assert scheduler.new_client(name="farm", keys=KeyRing([NEW])).result(inner) == 8
        assert dead(scheduler) == []


@pytest.mark.parametrize(
    ("client_keys", "why"),
    [
        (KeyRing([OTHER]), "its key 'other' is unknown here"),
        (KeyRing([Key(key_id="old", secret=b"guessed" * 6)]), "it is wrong"),
        (KeyRing([OLD]).for_client("farm"), None),
    ],
)
def test_who_has_not_the_key_runs_nothing(client_keys, why, caplog):
    """The message goes to the dead letters with its reason, nothing is stored, and nobody is answered."""
    with harness(OLD, client_keys=client_keys) as scheduler:
        task = scheduler.client.task(lambda: "nobody reads this")
        if why is None:
            with pytest.raises(KeysRefused, match="may sign now for client 'shop'"):
                task.launch()
            return
        message_id = task.launch()
        scheduler.run_until_idle()
        assert scheduler.tasks == []
        [reason] = dead(scheduler)
        assert reason.startswith("BAD_SIGNATURE: ")
        assert why in reason
        assert why in caplog.text
        assert scheduler.client.outcome(message_id) is None
        assert scheduler.broker.queues[scheduler.client.rmq_consumer_que].ready == ()


def test_an_unsigned_message_is_refused_and_the_next_good_one_runs():
    """Whoever reaches the broker without a key gets nothing done, whatever he sends."""
    with harness(OLD) as scheduler:
        for body in (b"", b"{}", b"SGX1 old", b'{"id":"1","client":"shop","type":3,"reply_to":"q","arguments":{}}'):
            send(scheduler, body)
        assert scheduler.client.task(lambda: "ran").launch().result() == "ran"
        assert [reason.partition(":")[0] for reason in dead(scheduler)] == ["BAD_SIGNATURE"] * 4
        assert len(scheduler.tasks) == 1


def test_an_answer_cannot_be_sent_back_as_a_request_nor_one_services_message_to_another():
    """What is taken from the wire is good for nothing but what it was made for."""
    with harness(OLD) as scheduler:
        client = scheduler.client
        task = client.task(lambda: None)
        task.launch().result()
        [launch] = seen_in(scheduler, REQUESTS, task.launch)
        scheduler.start_service()
        scheduler.new_service(request_queue="other-service", name="other", keys=KeyRing([OLD]))
        send(scheduler, launch, "other-service")
        [letter] = scheduler.broker.queues["other-service"].dead_letters
        assert letter.reason.startswith("BAD_SIGNATURE: ")
        send(scheduler, launch)  # the same to its own service is a duplicate: answered, and not run
        assert dead(scheduler) == []
        assert len(scheduler.tasks) == 2


def test_a_client_believes_no_answer_that_is_not_signed_for_it(caplog):
    """A forged answer is thrown away with a line in the log; the true one comes through."""
    with harness(OLD) as scheduler:
        client = scheduler.client
        task = client.task(lambda: "true")
        ids: list[str] = []
        seen_in(scheduler, REQUESTS, lambda: ids.append(task.launch()))
        forged = (
            b'{"id":"%b","client":"shop","type":1,"arguments":{"status":2,"code":"OK","result":"forged"}}'
            % ids[0].encode()
        )
        send(scheduler, forged, client.rmq_consumer_que)
        assert client.outcome(ids[0]) is None
        assert "an answer was thrown away: BAD_SIGNATURE" in caplog.text
        scheduler.start_service()
        assert client.result(ids[0]) == "true"


def test_keys_are_renewed_while_all_goes_on(tmp_path: Path):
    """The service first, then its clients, then the old key goes: every launch in between is run and answered."""
    paths = [tmp_path / name for name in ("service", "client")]

    def write(path: Path, *keys: Key) -> None:
        path.unlink(missing_ok=True)
        write_key_file(path, KeyRing(keys))

    for path in paths:
        write(path, OLD)
    with Harness(service={"keys": paths[0]}, client={"keys": paths[1]}) as scheduler:
        client, service = scheduler.client, scheduler.service
        task = client.task(lambda number: number)
        later = task.options(delay=3600).launch(0)
        assert task.launch(1).result() == 1
        write(paths[0], OLD, NEW)  # verified here, and signed with by nobody yet
        service.reload_keys()
        assert task.launch(2).result() == 2
        write(paths[1], NEW, OLD)
        client.reload_keys()
        assert task.launch(3).result() == 3
        write(paths[0], NEW, OLD)
        service.reload_keys()
        assert task.launch(4).result() == 4
        write(paths[1], NEW)
        client.reload_keys()
        assert task.launch(5).result() == 5
        scheduler.advance(hours=1)
        assert later.result() == 0
        assert dead(scheduler) == []


def test_keys_that_cannot_be_read_again_stay(tmp_path: Path, caplog):
    """A mistake in the file is logged, and the service goes on with the keys that it has."""
    path = tmp_path / "keys"
    write_key_file(path, KeyRing([OLD]))
    with Harness(service={"keys": path}, client={"keys": KeyRing([OLD])}) as scheduler:
        path.chmod(0o644)
        scheduler.service.reload_keys()
        assert scheduler.client.task(lambda: 1).launch().result() == 1
        assert "the keys were not read again, and stay as they were" in caplog.text


def test_a_service_does_not_start_with_wrong_keys(tmp_path: Path):
    """The error names the file and the reason."""
    with pytest.raises(KeysRefused, match="missing cannot be read"), Harness(service={"keys": tmp_path / "missing"}):
        pass


def test_unsigned_messages_are_taken_when_that_is_said():
    """So that keys can be brought in: the service first, then one client after the other."""
    with Harness(service={"keys": KeyRing([OLD]), "allow_unsigned": True}, client={"name": "bare"}) as scheduler:
        assert scheduler.client.task(lambda: 1).launch().result() == 1
        signing = scheduler.new_client(name="shop", keys=KeyRing([OLD]))
        assert signing.task(lambda: 2).launch().result() == 2


@pytest.mark.slow
def test_the_behaviour_is_the_same_with_keys():
    """Every test of `test_behaviour.py` passes with signed messages."""
    suite = Path(__file__).with_name("test_behaviour.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(suite)],
        env=os.environ | {"SCHEDULERGODX_KEYS": KeyRing([new_key()]).text()},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]

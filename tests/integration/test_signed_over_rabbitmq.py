"""Signed messages over a real RabbitMQ, with a service in a process of its own: what runs, what does not, new keys."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import uuid
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pika
import pytest

from schedulergodx import BrokerRefused, Client, KeyRing, TaskFailed
from schedulergodx.clock import SystemClock
from schedulergodx.rules.lifecycle import Code
from schedulergodx.transport import connect_really
from schedulergodx.transport.rabbitmq.parameters import connection_parameters
from schedulergodx.utils.abstractions import QueueSpec
from schedulergodx.utils.keys.files import replace_key_file, write_key_file
from schedulergodx.utils.keys.ring import Key, new_key
from schedulergodx.utils.message.signature import Direction, Signatures
from schedulergodx.utils.rmq_property import RmqConnect
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.contracts.recorder import consume, publish
from schedulergodx_testing.rabbitmq.waiting import wait_until
from tests.acceptance.helpers.programs import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schedulergodx_testing.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

WAIT_S = 30.0
REQUESTS = QueueSpec(name="client-service", has_dead_letters=True)
REASON = "x-schedulergodx-reason"


def double(number: int) -> int:
    return 2 * number


def commands(_argument: str) -> list[str]:
    """Return the command line of every process of this machine, as anybody sees it."""
    from pathlib import Path

    return [path.read_text(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]


def fail(_argument: str) -> None:
    raise RuntimeError("it fails")


@contextmanager
def serving(url: str, folder: Path, **keys: str) -> Iterator[Program]:
    """Run a service in a process of its own that knows its keys from the environment."""
    env = {"SCHEDULERGODX_URL": url} | keys
    with Program("-m", "schedulergodx", "service", "--db", "tasks.db", cwd=folder, env=env) as program:
        program.wait_for_line("takes tasks from queue")
        yield program
        assert program.stop() == 0


def first_request(url: str) -> bytes:
    """Return the message that waits in the queue of requests, and leave it there."""
    with closing(connect_really(url, name="spy")) as transport:
        return consume(transport, REQUESTS).delivery().body


def send(url: str, *bodies: bytes) -> None:
    """Put messages into the queue of requests, as whoever reaches the broker can."""
    with closing(connect_really(url, name="intruder")) as transport:
        transport.declare(REQUESTS)
        publish(transport, REQUESTS.name, *bodies)


def dead_letters(url: str, count: int) -> list[str]:
    """Return why messages are dead letters, in order, once there are so many."""
    found: list[str] = []
    with closing(pika.BlockingConnection(connection_parameters(RmqConnect.from_url(url), "spy"))) as connection:
        channel = connection.channel()

        def are_there() -> bool:
            while (letter := channel.basic_get(REQUESTS.dead_letter_name, auto_ack=True))[0] is not None:
                found.append(letter[1].headers[REASON])
            return len(found) >= count

        wait_until(are_there, f"{count} dead letters", timeout_s=WAIT_S)
    return found


def starts(folder: Path) -> dict[str, int]:
    """Return how often each stored task was started."""
    with reader(folder / "tasks.db") as view:
        return {task.message_id: task.starts for task in view.tasks(limit=100_000)}


def flipped(body: bytes, place: int) -> bytes:
    """Return a message with one bit changed."""
    changed = bytearray(body)
    changed[place] ^= 1
    return bytes(changed)


def made_old(body: bytes, ring: KeyRing, message_id: str) -> bytes:
    """Return a signed launch with another id that was issued before the service's `max_age_s`."""
    clock = SystemClock()
    signatures = Signatures(lambda: ring, queue=REQUESTS.name, clock=clock, allow_unsigned=False)
    facts = json.loads(signatures.open(Direction.REQUEST, body).body)
    issued_at = clock.now() - timedelta(days=31)
    aged = json.dumps(facts | {"id": message_id, "issued_at": issued_at.isoformat()}).encode()
    return signatures.sign(Direction.REQUEST, facts["client"], aged)


def test_a_signed_launch_is_answered_and_all_others_are_refused(
    rabbitmq_vhost_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsigned, changed, by an unknown key, too old: among the dead letters with the reason; sent again: runs once."""
    url, ring = rabbitmq_vhost_url, KeyRing([new_key()])
    monkeypatch.setenv("SCHEDULERGODX_KEYS", ring.text())
    with Client("shop", url=url, task_lifetime=WAIT_S) as client:
        launched = client.task(double).launch(1)
        body = first_request(url)
        with serving(url, tmp_path, SCHEDULERGODX_KEYS=ring.text()):
            assert launched.result(WAIT_S) == 2
            head_end = body.index(b"\n")
            changed = [flipped(body, place) for place in (head_end - 1, head_end + 2, len(body) - 2)]
            send(url, body.partition(b"\n")[2], *changed, body, made_old(body, ring, "old"))
            for key in (new_key(), Key(key_id=ring.keys[0].key_id, secret=b"guessed" * 6)):
                with Client("shop", url=url, keys=KeyRing([key])) as stranger:
                    stranger.task(double).launch(2)
            last = client.task(double).launch(3)
            assert last.result(WAIT_S) == 6
            reasons = dead_letters(url, 7)
    kinds = [reason.partition(":")[0] for reason in reasons]
    assert sorted(kinds) == ["BAD_SIGNATURE"] * 6 + [Code.STALE.value]
    for why, count in (("it has none", 1), ("it is wrong", 4), ("is unknown here", 1), ("launch it anew", 1)):
        assert sum(why in reason for reason in reasons) == count, (why, reasons)
    assert starts(tmp_path) == {launched: 1, last: 1, "old": 0}


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="this system shows no command lines as files")
def test_no_secret_is_seen_from_outside(
    rabbitmq: RabbitMQ, rabbitmq_vhost_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither password, keys nor arguments: in process lists, logs of both sides, dead letters, errors, reprs."""
    if not rabbitmq.is_controllable:
        pytest.skip("this broker belongs to somebody else")
    caplog.set_level(logging.DEBUG)
    mark = uuid.uuid4().hex  # of this run alone: the process list shows other runs, too
    ring, other = (KeyRing([Key(key_id="k", secret=f"{kind}-{mark}".encode())]) for kind in ("key", "other"))
    vhost = rabbitmq_vhost_url.rpartition("/")[2]
    user, password, argument = f"user-of-{vhost}", f"password-{mark}", f"argument-{mark}"
    rabbitmq.add_user(user, password)
    rabbitmq.set_permissions(user, vhost=vhost)
    url, nowhere = (rabbitmq.url_for(name, user=user, password=password) for name in (vhost, "none"))
    shown: list[str] = []
    env = {"SCHEDULERGODX_KEYS": ring.text(), "SCHEDULERGODX_LOG_LEVEL": "debug"}
    with serving(url, tmp_path, **env) as service, Client("shop", url=url, keys=ring, task_lifetime=WAIT_S) as client:
        hard = client.task(commands, hard=True, hard_task_lifetime=WAIT_S).launch(argument)
        shown += hard.result(WAIT_S)
        assert any("schedulergodx" in command for command in shown)
        with pytest.raises(TaskFailed) as failed:
            client.task(fail).launch(argument).result(WAIT_S)
        with Client("shop", url=url, keys=other) as stranger:
            stranger.task(commands).launch(argument)
            shown += [repr(client), repr(stranger), str(failed.value), repr(hard), *dead_letters(url, 1)]
        with pytest.raises(BrokerRefused) as refused, Client(url=nowhere, keys=ring) as lost:
            lost.task(fail).launch(argument)
        shown.append(str(refused.value))
    shown += [service.text, caplog.text, *(repr(record.args) for record in caplog.records)]
    assert len(service.lines) > 10
    secrets = [ring.keys[0].line().split()[1], mark, mark.encode().hex()]
    assert [text for text in shown if any(secret in text for secret in secrets)] == []


class Load:
    """Launches without a pause, each after the answer of the one before, until its block ends."""

    def __init__(self, client: Client) -> None:
        self.results: list[int] = []
        self._task = client.task(double)
        self._is_enough = threading.Event()
        self._thread = threading.Thread(target=self._launch)

    def _launch(self) -> None:
        while not self._is_enough.is_set():
            self.results.append(self._task.launch(len(self.results)).result(WAIT_S))

    def go_on(self) -> None:
        """Wait until some launches more were answered that came after this call."""
        enough = len(self.results) + 5
        wait_until(lambda: len(self.results) >= enough, "answers", timeout_s=WAIT_S)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_enough.set()
        self._thread.join(WAIT_S)


def test_keys_are_renewed_under_load_without_a_pause(rabbitmq_vhost_url: str, tmp_path: Path) -> None:
    """Step by step, in files of service and client: every launch runs and is answered; then the old key is refused."""
    url, old, new = rabbitmq_vhost_url, new_key(), new_key()
    of_service, of_client = tmp_path / "service.keys", tmp_path / "client.keys"
    for path in (of_service, of_client):
        write_key_file(path, KeyRing([old]))
    with (
        serving(url, tmp_path, SCHEDULERGODX_KEY_FILE=str(of_service)) as service,
        Client("shop", url=url, keys=of_client, task_lifetime=WAIT_S) as client,
    ):
        with Load(client) as load:
            load.go_on()
            steps = [
                (of_service, (old, new)),
                (of_client, (new, old)),
                (of_service, (new, old)),
                (of_client, (new,)),
                (of_service, (new,)),
            ]
            for number, (path, keys) in enumerate(steps):
                replace_key_file(path, KeyRing(keys))
                if path == of_client:
                    client.reload_keys()
                else:
                    os.kill(service.pid, signal.SIGHUP)
                    service.wait_for_line("the keys were read again", count=number // 2 + 1)
                load.go_on()
        assert load.results == [2 * number for number in range(len(load.results))]
        with Client("late", url=url, keys=KeyRing([old])) as late:
            late.task(double).launch(1)
            [reason] = dead_letters(url, 1)
    assert f"its key {old.key_id!r} is unknown here" in reason
    assert list(starts(tmp_path).values()) == [1] * len(load.results)

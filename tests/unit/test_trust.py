"""Who may go without keys, how much is kept of unproven senders, and that no secret is shown."""

from __future__ import annotations

import logging
import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from schedulergodx import Client, KeyRing, KeysRefused, Service, TaskFailed
from schedulergodx import transport as transports
from schedulergodx.service import unproven
from schedulergodx.utils.keys.ring import Key
from schedulergodx.utils.message import payload
from schedulergodx.utils.rmq_property import RmqConnect
from schedulergodx_testing import Harness

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
LOCAL = ["amqp://127.0.0.1/", "amqp://127.9.9.9/", "amqp://localhost/", "amqps://[::1]/", "sqlite:///queue.db", None]
ELSEWHERE = ["amqp://rabbit/", "amqps://10.0.0.1/", "amqp://localhost.example/", "amqp://0.0.0.0/", "amqp://[::]/"]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set where the tests run is none of their business."""
    for name in ("SCHEDULERGODX_URL", "SCHEDULERGODX_KEYS", "SCHEDULERGODX_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("url", LOCAL)
def test_what_only_this_machine_reaches(url: str | None) -> None:
    """A file, a loopback address, and what one gets without naming a broker."""
    assert transports.is_local(url)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_without_keys_only_this_machine_is_served(url: str, tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    """Elsewhere both sides refuse, naming the setting, before they connect; unless it is said."""
    assert not transports.is_local(url)
    service = Service(url=url, db=tmp_path / "tasks.db")
    with pytest.raises(KeysRefused, match="SCHEDULERGODX_KEY_FILE or keys=…, or say allow_unsigned=True"):
        service.open()
    assert list(tmp_path.iterdir()) == []
    with Client(url=url) as client, pytest.raises(KeysRefused, match="nothing was sent: client 'client' has no keys"):
        client.task(lambda: None).launch()
    assert caplog.records == []
    allowed = Client(url=url, allow_unsigned=True)
    assert allowed._current().trust.sign(b"{}") == b"{}"


def test_a_rmq_connect_is_looked_at_as_its_url_is() -> None:
    """The way to say where the broker is does not matter."""
    assert transports.is_local(RmqConnect({"host": "127.0.0.1"}, ("guest", "guest")))
    assert not transports.is_local(RmqConnect({"host": "rabbit"}, ("guest", "guest")))


def test_one_warning_of_the_service_on_this_machine(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It works, and says once that whoever reaches the broker can run code; a client, which runs nothing, is silent."""
    url = f"sqlite:///{tmp_path}/queues.db"
    assert Client(url=url)._current().trust.sign(b"{}") == b"{}"
    assert caplog.records == []
    service = Service(url=url, db=tmp_path / "tasks.db")
    service.open()
    service.close()
    assert [record.getMessage().endswith("can run code") for record in caplog.records] == [True]


def test_a_flood_of_wrong_signatures_is_not_kept() -> None:
    """So many messages and bytes in an hour; then they are counted, and the next hour begins anew."""
    kept = unproven.Unproven()
    assert [kept.may_keep(10, now=NOON) for _ in range(102)] == [True] * 100 + [False] * 2
    assert kept.dropped == 2
    later = NOON + timedelta(hours=1)
    half = unproven.KEPT_BYTES_MAX // 2
    assert [kept.may_keep(size, now=later) for size in (half, half, 1)] == [True, True, False]
    assert kept.may_keep(1, now=NOON)  # the wall clock was set back


def test_a_dropped_message_is_acked_and_the_next_good_one_runs(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """What is not kept does not come again either."""
    monkeypatch.setattr(unproven, "KEPT_MAX", 2)
    ring = KeyRing([Key(key_id="k", secret=b"k" * 32)])
    with Harness(service={"keys": ring}, client={"keys": KeyRing([Key(key_id="k", secret=b"x" * 32)])}) as scheduler:
        for _ in range(5):
            scheduler.client.task(lambda: None).launch()
        scheduler.run_until_idle()
        queue = scheduler.broker.queues["client-service"]
        assert (len(queue.dead_letters), queue.ready, queue.unacked) == (2, (), ())
        assert caplog.text.count("message with a wrong signature dropped") == 3
        good = scheduler.new_client(name="good", keys=ring)
        assert good.task(lambda: "ran").launch().result() == "ran"


class _Planted:
    def __init__(self, text: str) -> None:
        self.text = text


def test_no_secret_is_shown_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    """Keys, passwords and arguments are in no line of the log at any level, in no repr, and in no error of ours."""
    caplog.set_level(logging.DEBUG)
    ring = KeyRing([Key(key_id="k", secret=b"planted-key-planted-key-planted-k")])
    shown: list[str] = []
    argument = "planted-argument"
    with Harness(service={"keys": ring}, client={"keys": ring}) as scheduler:
        client = scheduler.client
        task = client.task(lambda what, **_more: len(what))
        assert task.launch(argument, more=argument.encode()).result() == 16
        failing = client.task(lambda what: what.no_such_thing).launch(_Planted(argument))
        with pytest.raises(TaskFailed) as raised:
            failing.result()
        refused = scheduler.new_client(name="other", keys=KeyRing([Key(key_id="k", secret=b"planted-key-" * 4)]))
        refused.task(lambda _: None).launch(argument)
        scheduler.run_until_idle()
        shown += [repr(client), repr(task), repr(scheduler.service), repr(scheduler.tasks), str(raised.value)]
        shown += [letter.reason for letter in scheduler.broker.queues["client-service"].dead_letters]
    with pytest.raises(KeysRefused) as unreachable:
        Client(url="amqp://me:planted-password@rabbit/").task(len).launch([argument])
    shown += [str(unreachable.value), repr(RmqConnect.from_url("amqp://me:planted-password@rabbit/")), repr(ring)]
    shown += [repr(record) + record.getMessage() + repr(record.args) for record in caplog.records]
    assert len(caplog.records) > 5
    assert [text for text in shown if "planted" in text or "706c616e746564" in text] == []


def test_a_client_that_travels_takes_no_secret_along() -> None:
    """Captured by a function, in its arguments, or pickled: neither its password nor its keys are in the bytes."""
    ring = KeyRing([Key(key_id="k", secret=b"planted-key-planted-key-planted-k")])
    client = Client(name="shop", url="amqp://me:planted-password@127.0.0.1/", keys=ring)
    task = client.task(len)

    def launch_more() -> object:
        return client, task.launch

    packed = payload.pack(launch_more, (client, task), {}, by="value")
    secret = ring.keys[0].line().split()[1].encode()
    for data in (packed.function, packed.arguments, packed.arguments_by_value, pickle.dumps(client)):
        assert data is None or not any(one in data for one in (b"planted", secret, b"planted".hex().encode()))
    assert packed.function is not None

"""What pika and the broker are told, from `RmqConnect` and `QueueSpec`."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pika
import pytest

from schedulergodx.errors import InvalidParameter
from schedulergodx.transport.rabbitmq import RabbitMQTransport
from schedulergodx.transport.rabbitmq.declare import dead_letter_arguments, major_version, queue_arguments
from schedulergodx.transport.rabbitmq.parameters import connection_parameters
from schedulergodx.transport.rabbitmq.subscription import owner_queue_name
from schedulergodx.utils.abstractions import QueueSpec
from schedulergodx.utils.rmq_property import RmqConnect

if TYPE_CHECKING:
    from pathlib import Path


def test_every_parameter_is_honoured() -> None:
    """What the user sets is set, the rest has the house's values, and the connection has a name."""
    connect = RmqConnect(
        {
            "host": "h",
            "port": 1,
            "virtual_host": "v",
            "heartbeat": 7,
            "socket_timeout": 3,
            "frame_max": 8192,
            "client_properties": {"team": "a"},
        },
        ("u", "p"),
    )
    parameters = connection_parameters(connect, "name of it")
    assert (parameters.host, parameters.port, parameters.virtual_host, parameters.heartbeat) == ("h", 1, "v", 7)
    assert (parameters.socket_timeout, parameters.frame_max) == (3, 8192)
    assert parameters.blocked_connection_timeout == 300
    assert (parameters.credentials.username, parameters.credentials.password) == ("u", "p")
    assert parameters.client_properties == {
        "product": "SchedulerGodX",
        "connection_name": "name of it",
        "team": "a",
    }


def test_amqps_checks_the_certificate() -> None:
    """TLS is spoken with the system's certificates and with the host's name checked; amqp has none."""
    secure = connection_parameters(RmqConnect.from_url("amqps://u:p@host.example"), "n")
    assert secure.port == 5671
    assert secure.ssl_options is not None
    assert secure.ssl_options.server_hostname == "host.example"
    assert secure.ssl_options.context.verify_mode is ssl.CERT_REQUIRED
    assert connection_parameters(RmqConnect.from_url("amqp://u:p@host.example"), "n").ssl_options is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("cafile={folder}/missing.pem", "cafile '{folder}/missing.pem' cannot be used: No such file"),
        ("cafile={folder}/text.pem", "cafile '{folder}/text.pem' cannot be used"),
        ("cafile={folder}", "cafile '{folder}' cannot be used"),
        ("certfile={folder}/missing.pem", "certfile '{folder}/missing.pem' with keyfile None cannot be used: No such"),
        ("certfile={folder}/text.pem", "certfile '{folder}/text.pem' with keyfile None cannot be used"),
        ("keyfile={folder}/text.pem", "keyfile is the key of a certificate: give certfile too"),
    ],
)
def test_a_file_for_tls_that_is_none_is_named(tmp_path: Path, query: str, said: str) -> None:
    """Making the transport tells it, without a connection."""
    (tmp_path / "text.pem").write_text("no certificate", "utf-8")
    connect = RmqConnect.from_url(f"amqps://host.example/?{query.format(folder=tmp_path)}")
    with pytest.raises(InvalidParameter) as caught:
        RabbitMQTransport(connect, name="n")
    assert said.format(folder=tmp_path) in str(caught.value)


@pytest.mark.parametrize("lack", ["certificate", "host"])
def test_tls_that_checks_nothing_is_refused(lack: str) -> None:
    """Options of pika are taken when they check certificate and host, and refused when they do not."""
    context = ssl.create_default_context()
    options = pika.SSLOptions(context, "host.example")
    assert connection_parameters(RmqConnect({"ssl_options": options}, ("u", "p")), "n").ssl_options is options
    context.check_hostname = False
    if lack == "certificate":
        context.verify_mode = ssl.CERT_NONE
    with pytest.raises(InvalidParameter, match="would not check the broker's certificate"):
        connection_parameters(RmqConnect({"ssl_options": options}, ("u", "p")), "n")


def test_a_parameter_unknown_to_pika_is_refused_at_once() -> None:
    """Making the transport tells it, without a connection."""
    with pytest.raises(InvalidParameter, match="hartbeat"):
        RabbitMQTransport(RmqConnect({"hartbeat": 7}, ("u", "p")), name="n")


def test_a_queue_is_declared_as_described() -> None:
    """Its type by name, expiry in milliseconds, dead letters by the default exchange; nothing that is not asked for."""
    assert queue_arguments(QueueSpec(name="q")) == {"x-queue-type": "classic"}
    everything = QueueSpec(name="q", expires_after_s=1.5, has_dead_letters=True, is_quorum=True)
    quorum = {"x-queue-type": "quorum", "x-delivery-limit": -1}
    assert queue_arguments(everything) == quorum | {
        "x-expires": 1500,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "q.dead",
    }
    assert dead_letter_arguments(everything) == quorum
    assert dead_letter_arguments(QueueSpec(name="q", has_dead_letters=True)) == {"x-queue-type": "classic"}


def test_a_delivery_limit_is_spoken_of_only_where_it_is_understood() -> None:
    """RabbitMQ 3.10 takes -1 for a limit below nothing and drops what comes back once; from 4 on it means none."""
    queue = QueueSpec(name="q", is_quorum=True)
    for version in (0, 3):
        assert queue_arguments(queue, version=version) == {"x-queue-type": "quorum"}
        assert dead_letter_arguments(queue, version=version) == {"x-queue-type": "quorum"}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [({"version": "4.3.6"}, 4), ({"version": b"3.10.8"}, 3), ({"version": "v2"}, 0), ({}, 0), (None, 0)],
)
def test_the_version_of_a_broker(properties: dict[str, object] | None, expected: int) -> None:
    """The first number that it names; 0 for a broker that names none."""
    assert major_version(properties) == expected


def test_frames_below_what_newer_brokers_take_are_refused() -> None:
    """RabbitMQ from 4.1 on closes such a connection without a word, so this is told here."""
    connect = RmqConnect.from_url("amqp://host.example/?frame_max=4096")
    with pytest.raises(InvalidParameter, match="frame_max must be at least 8192"):
        connection_parameters(connect, "n")


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.0001, 1), (10 * 365 * 86400.0, 2**32 - 1)])
def test_an_expiry_stays_within_what_the_broker_takes(seconds: float, milliseconds: int) -> None:
    """RabbitMQ refuses 0 and what is above 32 bits."""
    assert queue_arguments(QueueSpec(name="q", expires_after_s=seconds))["x-expires"] == milliseconds


def test_the_owner_of_a_queue_with_a_long_name_has_a_name() -> None:
    """AMQP allows 255 bytes; two long names do not meet."""
    assert owner_queue_name("q") == "q.owner"
    names = {owner_queue_name(letter * 255) for letter in "ab"}
    assert len(names) == 2
    assert all(len(name.encode()) <= 255 for name in names)

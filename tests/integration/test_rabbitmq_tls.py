"""TLS to a real RabbitMQ: a certificate of one's own is enough, and a wrong one is refused at once, by name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import trustme

from schedulergodx import Client
from schedulergodx.errors import BrokerRefused, BrokerUnavailable
from schedulergodx.transport.rabbitmq import RabbitMQTransport
from schedulergodx.utils.abstractions import ConnectionState, QueueSpec
from schedulergodx.utils.rmq_property import RmqConnect
from schedulergodx_testing.contracts.recorder import Sending, consume, publish
from schedulergodx_testing.rabbitmq import LocalRabbitMQ, RabbitMQ, RabbitMQUnavailable, SchedulerRabbitMQ, TLSFiles
from tests.acceptance.helpers.programs import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trustme import CA, LeafCert

    Connect = Callable[..., RabbitMQTransport]

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

HOST = "127.0.0.1"
QUEUE = QueueSpec(name="over-tls")


@dataclass(frozen=True)
class Place:
    """A broker that speaks TLS, who vouches for it, and the files of a test."""

    broker: RabbitMQ
    authority: CA
    files: TLSFiles
    folder: Path

    def url(self, *, host: str = HOST, port: int | None = None, scheme: str = "amqps", **files: Path) -> str:
        """Return a URL of it with the given files."""
        query = "&".join(f"{name}={quote(str(path), safe='')}" for name, path in files.items())
        return f"{scheme}://guest:guest@{host}:{port or self.broker.tls_port}/?{query}"

    def serve(self, certificate: LeafCert) -> None:
        """Have the broker show another certificate from its next start on."""
        self.files.certfile.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        self.files.keyfile.write_bytes(certificate.private_key_pem.bytes())

    def client_files(self, name: str, authority: CA) -> dict[str, Path]:
        """Return the files of a client with a certificate from `authority`."""
        certificate = authority.issue_cert("client@example.org")
        certfile, keyfile = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certfile.write_bytes(certificate.cert_chain_pems[0].bytes())
        keyfile.write_bytes(certificate.private_key_pem.bytes())
        return {"cafile": self.files.cafile, "certfile": certfile, "keyfile": keyfile}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("node", marks=pytest.mark.local_node),
        pytest.param("container", marks=pytest.mark.docker),
    ],
)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A broker with a certificate for 127.0.0.1: a private node, then a container."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    files = TLSFiles(certfile=folder / "server.pem", keyfile=folder / "server.key", cafile=folder / "ca.pem")
    authority.cert_pem.write_to_path(str(files.cafile))
    if request.param == "container":
        request.getfixturevalue("rabbitmq_container")  # skips, or fails, where there can be none
        broker: RabbitMQ = SchedulerRabbitMQ(tls=files)
    else:
        try:
            broker = LocalRabbitMQ(tls=files)
        except RabbitMQUnavailable as error:
            if request.config.getoption("--require-rabbitmq"):
                raise
            pytest.skip(str(error))
    place = Place(broker, authority, files, folder)
    place.serve(authority.issue_cert(HOST))
    with broker:
        yield place


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a function that opens a transport to a URL; all are closed after the test."""
    opened: list[RabbitMQTransport] = []

    def connect(url: str) -> RabbitMQTransport:
        opened.append(RabbitMQTransport(RmqConnect.from_url(url), name="tls"))
        return opened[-1]

    yield connect
    for transport in opened:
        transport.close()


def refusal_of(transport: RabbitMQTransport) -> str:
    """Return the text with which publishing and consuming over a transport are refused."""
    recorder = consume(transport, QUEUE)
    error = Sending(transport, QUEUE.name, b"never").error()
    failure = recorder.failure().error
    assert isinstance(error, BrokerRefused)
    assert isinstance(failure, BrokerRefused)
    assert transport.status().state is ConnectionState.REFUSED
    assert transport.status().attempts <= 2, "a refusal is not tried again and again"
    for text in (str(error), str(failure)):
        assert "Check port, certificates, cafile" in text
        assert "guest:guest" not in text
    return str(error)


def test_client_and_service_over_tls(place: Place, tmp_path: Path) -> None:
    """A service in a process of its own and a client talk over `amqps://…?cafile=…`; a soft and a hard task run."""
    url = place.url(cafile=place.files.cafile)
    arguments: list[str] = ["-m", "schedulergodx", "service", "--db", str(tmp_path / "tasks.db")]
    with Program(*arguments, cwd=tmp_path, env={"SCHEDULERGODX_URL": url}) as service:
        service.wait_for_line("takes tasks from queue")
        with Client(url=url, name="secure") as client:

            @client.task
            def double(number: int) -> int:
                return 2 * number

            assert double.launch(21).result(timeout_s=20) == 42
            assert double.options(hard=True).launch(4).result(timeout_s=20) == 8
        assert service.stop() == 0


@pytest.mark.parametrize("trusted", ["another authority", "the system"])
def test_a_certificate_of_an_unknown_authority_is_refused(
    place: Place, connect: Connect, tmp_path: Path, trusted: str
) -> None:
    """Whether one trusts another authority or none of one's own, the refusal names the certificate."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    files = {} if trusted == "the system" else {"cafile": other}
    assert "the broker's certificate is not accepted: self" in refusal_of(connect(place.url(**files)))


def test_a_certificate_of_another_host_is_refused(place: Place, connect: Connect) -> None:
    """A certificate for 127.0.0.1 says nothing about localhost."""
    text = refusal_of(connect(place.url(host="localhost", cafile=place.files.cafile)))
    assert "Hostname mismatch, certificate is not valid for 'localhost'" in text


def test_a_launch_is_refused_at_once(place: Place) -> None:
    """A user's program hears of a wrong certificate from its first launch, long before `launch_timeout_s`."""
    refusal = pytest.raises(BrokerRefused, match="the broker's certificate is not accepted")
    with Client(url=place.url(), launch_timeout_s=60) as client, refusal:
        client.task(print).launch("never")


def test_a_service_ends_over_a_wrong_certificate(place: Place, tmp_path: Path) -> None:
    """The command line tells it in one line and leaves with the exit code of a refusal, without a traceback."""
    arguments = ["-m", "schedulergodx", "service", "--db", str(tmp_path / "tasks.db")]
    with Program(*arguments, cwd=tmp_path, env={"SCHEDULERGODX_URL": place.url()}) as service:
        assert service.wait() not in {0, 1}
    assert service.matching("the broker's certificate is not accepted")
    assert "Traceback" not in service.text


def test_tls_to_a_port_without_it_is_refused(place: Place, connect: Connect) -> None:
    """`amqps://` with the port of `amqp://` is told as what it is."""
    assert "that port speaks no TLS" in refusal_of(
        connect(place.url(port=place.broker.port, cafile=place.files.cafile))
    )


def test_no_tls_to_a_port_with_it(place: Place) -> None:
    """`amqp://` with the port of `amqps://` reaches nobody, within the launch's timeout."""
    with Client(url=place.url(scheme="amqp"), launch_timeout_s=1) as client, pytest.raises(BrokerUnavailable):
        client.task(print).launch("never")


def test_a_client_may_show_a_certificate(place: Place, connect: Connect) -> None:
    """One of the authority that the broker trusts is taken; with one of another authority it refuses us."""
    good = connect(place.url(**place.client_files("good", place.authority)))
    good.declare(QUEUE)
    publish(good, QUEUE.name, b"with a certificate")
    wrong = connect(place.url(**place.client_files("wrong", trustme.CA())))
    assert "the broker does not trust our certificate" in refusal_of(wrong)


def test_a_certificate_that_expires_is_refused_at_the_next_connection(place: Place, connect: Connect) -> None:
    """A transport that was up is refused when the broker comes back with it, and works again when it is renewed."""
    transport = connect(place.url(cafile=place.files.cafile))
    recorder = consume(transport, QUEUE)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"before")
    place.serve(place.authority.issue_cert(HOST, not_after=datetime(2020, 1, 1, tzinfo=UTC)))
    place.broker.restart()
    failure = recorder.failure().error
    assert isinstance(failure, BrokerRefused)
    assert "certificate has expired" in str(failure)
    place.serve(place.authority.issue_cert(HOST))
    place.broker.restart()
    publish(transport, QUEUE.name, b"after")


def settings(**parameters: Any) -> RmqConnect:
    return RmqConnect({"host": HOST, **parameters}, ("guest", "guest"), uses_tls=True)


def test_the_same_without_a_url(place: Place) -> None:
    """`RmqConnect` takes the files as parameters."""
    transport = RabbitMQTransport(
        settings(port=place.broker.tls_port, cafile=str(place.files.cafile)), name="without a url"
    )
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"a")
    transport.close()

"""`connect` chooses a transport by its URL, and never shows a password."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from schedulergodx import transport
from schedulergodx.errors import InvalidParameter
from schedulergodx.redirection import redirect
from schedulergodx.transport.sqlite import SqliteTransport
from schedulergodx.utils.rmq_property import RmqConnect


class Made:
    """Stands for a transport, and keeps what it was made of."""

    def __init__(self, target, *, name, clock):
        self.target, self.name, self.clock = target, name, clock


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(transport.URL_VARIABLE, raising=False)
    monkeypatch.setattr(transport, "_registered", {})


@pytest.fixture
def rabbitmq(monkeypatch: pytest.MonkeyPatch):
    """Makes RabbitMQ transports that are only noted down."""
    monkeypatch.setattr("schedulergodx.transport.rabbitmq.RabbitMQTransport", Made)


def test_nothing_means_rabbitmq_on_localhost(rabbitmq):
    """As in 1.0.0, nobody has to say where the broker is."""
    made = transport.connect(None, name="me", clock="clock")
    assert (made.target.address, made.name, made.clock) == ("amqp://guest@localhost:5672/", "me", "clock")


def test_nothing_means_the_url_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`SCHEDULERGODX_URL` comes before localhost, and an explicit target before it; empty, it counts as unset."""
    monkeypatch.setenv("SCHEDULERGODX_URL", f"sqlite:///{tmp_path}/a.db")
    assert transport.connect(None, name="me").status().broker == f"sqlite:///{tmp_path}/a.db"
    assert transport.connect(f"sqlite:///{tmp_path}/b.db", name="me").status().broker.endswith("b.db")
    monkeypatch.setenv("SCHEDULERGODX_URL", "")
    assert transport.address(None) == "amqp://guest@localhost:5672/"


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_amqp_is_rabbitmq(rabbitmq, scheme: str):
    """Both AMQP schemes lead to RabbitMQ, with user, host and virtual host; so does an `RmqConnect`."""
    made = transport.connect(f"{scheme}://ann:secret@broker:99/shop", name="me")
    assert made.target.address == f"{scheme}://ann@broker:99/shop"
    assert made.target.rmq_credentials == ("ann", "secret")
    where = RmqConnect({}, ("bob", "secret"))
    assert transport.connect(where, name="me").target is where


def test_sqlite_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Three slashes are relative to the folder of now, four absolute; percent signs decode."""
    monkeypatch.chdir(tmp_path)
    for url, path in (
        ("sqlite:///some/q.db", tmp_path / "some/q.db"),
        (f"sqlite:///{tmp_path}/q.db", tmp_path / "q.db"),
        ("sqlite:///a%20b%3F.db", tmp_path / "a b?.db"),
    ):
        made = transport.connect(url, name="me")
        assert isinstance(made, SqliteTransport)
        assert made.status().broker == transport.address(url) == f"sqlite:///{path}"


@pytest.mark.parametrize("url", ["sqlite://q.db", "sqlite://", "sqlite:///", "sqlite:///q.db?mode=ro", "sqlite:///q#1"])
def test_a_malformed_file_url_is_refused_with_the_right_form(url: str):
    """The error shows how to write it."""
    with pytest.raises(InvalidParameter, match="sqlite:////absolute/path"):
        transport.connect(url, name="me")


@pytest.mark.parametrize("url", ["redis://ann:secret@host", "ann:secret@host", "secret", "", "amqp://ann:secret@[::1"])
def test_an_unknown_kind_is_refused_without_the_password(url: str):
    """The error of `connect` and of `address` lists the known kinds or says "malformed", and keeps the secret."""
    for use in (transport.address, lambda target: transport.connect(target, name="me")):
        with pytest.raises(InvalidParameter, match=r"amqp://, amqps://, sqlite://|malformed") as caught:
            use(url)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_what_is_no_text_is_refused():
    """A path or number is named by its type."""
    with pytest.raises(InvalidParameter, match="got PosixPath"):
        transport.connect(Path("q.db"), name="me")


def test_memory_needs_the_testing_package(monkeypatch: pytest.MonkeyPatch):
    """Unregistered, `memory://` names the package to import; registered, it is used."""
    monkeypatch.delitem(sys.modules, "schedulergodx_testing", raising=False)
    with pytest.raises(InvalidParameter, match="schedulergodx_testing"):
        transport.connect("memory://broker", name="me")
    transport.register("memory", Made)
    assert transport.connect("memory://broker", name="me").target == "memory://broker"


def test_production_kinds_cannot_be_replaced():
    """Whatever is imported, `amqp://` is RabbitMQ."""
    with pytest.raises(InvalidParameter, match="production"):
        transport.register("amqp", Made)


def test_an_address_has_no_password():
    """Of any kind of target."""
    transport.register("memory", Made)
    for target in ("amqp://ann:secret@broker/shop", "memory://ann:secret@x/y", RmqConnect({}, ("ann", "secret"))):
        assert "secret" not in transport.address(target)
    assert transport.address("amqp://ann:secret@broker/shop") == "amqp://ann@broker:5672/shop"


class Harness:
    """Stands for a test harness, as far as connections go."""

    def connect(self, target, *, name):
        return Made(target, name=name, clock=None)


def test_a_harness_takes_every_connection_until_its_end(rabbitmq, tmp_path: Path):
    """Whatever the target, its transport comes from the harness; afterwards, and after an error, all is as before."""
    url = f"sqlite:///{tmp_path}/q.db"
    made = []
    with redirect(Harness()):
        thread = threading.Thread(target=lambda: made.append(transport.connect(url, name="thread")))
        thread.start()
        thread.join()
        made.append(transport.connect(None, name="main"))
    assert [(one.name, type(one)) for one in made] == [("thread", Made), ("main", Made)]
    assert (made[0].target, made[1].target.address) == (url, "amqp://guest@localhost:5672/")
    with pytest.raises(ZeroDivisionError), redirect(Harness()):
        raise ZeroDivisionError
    assert isinstance(transport.connect(url, name="me"), SqliteTransport)


def test_a_harness_still_refuses_wrong_targets():
    """A URL that would fail in production fails under the harness too."""
    with redirect(Harness()), pytest.raises(InvalidParameter):
        transport.connect("redis://host", name="me")


def test_harnesses_do_not_nest():
    """The second one is refused, and the first one still holds."""
    with redirect(Harness()):
        with pytest.raises(RuntimeError, match="do not nest"), redirect(Harness()):
            pass
        assert isinstance(transport.connect(None, name="me"), Made)


def test_choosing_imports_nothing_slow():
    """Nothing imports pika before its transport is made."""
    code = (
        "import sys, schedulergodx.transport as t; t.address('amqp://broker'); t.address('sqlite:///q.db');"
        "print('pika' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"

"""Where a RabbitMQ is: URLs of it, and passwords that are shown nowhere."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.errors import InvalidParameter
from schedulergodx.utils.rmq_property import RmqConnect, RmqSettings, rmq_default_settings

SECRET = "open-sesame"


@pytest.mark.parametrize(
    ("url", "host", "port", "vhost", "credentials"),
    [
        ("amqp://", "localhost", 5672, "/", ("guest", "guest")),
        ("amqp://broker", "broker", 5672, "/", ("guest", "guest")),
        ("amqp://broker/", "broker", 5672, "/", ("guest", "guest")),
        ("amqp://broker/%2F", "broker", 5672, "/", ("guest", "guest")),
        ("amqp://broker/shop", "broker", 5672, "shop", ("guest", "guest")),
        ("amqp://broker/a%2Fb%20c", "broker", 5672, "a/b c", ("guest", "guest")),
        ("amqps://broker", "broker", 5671, "/", ("guest", "guest")),
        ("amqp://ann:p%40ss%3A%2F@broker:99/shop", "broker", 99, "shop", ("ann", "p@ss:/")),
        ("amqp://ann@broker", "broker", 5672, "/", ("ann", "guest")),
        ("amqp://[::1]:5673/", "::1", 5673, "/", ("guest", "guest")),
    ],
)
def test_a_url_is_read(url, host, port, vhost, credentials):
    """What it leaves out is the default; what is percent-encoded is decoded."""
    connect = RmqConnect.from_url(url)
    parameters = connect.rmq_parameters
    assert (parameters["host"], parameters["port"], parameters["virtual_host"]) == (host, port, vhost)
    assert connect.rmq_credentials == credentials
    assert connect.uses_tls is url.startswith("amqps")
    assert parameters["heartbeat"] == 60


def test_parameters_of_a_url():
    """Those of the connection are numbers, checked by name."""
    parameters = RmqConnect.from_url("amqp://b?heartbeat=7&blocked_connection_timeout=2.5&locale=de").rmq_parameters
    assert (parameters["heartbeat"], parameters["blocked_connection_timeout"], parameters["locale"]) == (7, 2.5, "de")


def test_files_for_tls_in_a_url():
    """They are paths, kept as they are; nothing is opened yet."""
    url = "amqps://broker/?cafile=/etc/my%20ca.pem&certfile=me.pem&keyfile=key.pem"
    parameters = RmqConnect.from_url(url).rmq_parameters
    assert [parameters[name] for name in ("cafile", "certfile", "keyfile")] == ["/etc/my ca.pem", "me.pem", "key.pem"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://broker", "begins with amqp:// or amqps://"),
        ("broker:5672", "begins with amqp:// or amqps://"),
        ("", "begins with amqp:// or amqps://"),
        (f"amqp://ann:{SECRET}@broker:port/", "port"),
        (f"amqp://ann:{SECRET}@broker:99999/", "port"),
        (f"amqp://ann:{SECRET}/slash@broker/", "port"),
        (f"amqp://ann:{SECRET}#hash@broker/", "port"),
        (f"amqp://ann:{SECRET}?mark@broker/", "port"),
        (f"amqp://ann:{SECRET}@[broker/", "malformed"),
        (f"amqp://ann:{SECRET}@broker/?hartbeat=5", "hartbeat"),
        (f"amqp://ann:{SECRET}@broker/?heartbeat=often", "heartbeat must be a number"),
        (f"amqp://ann:{SECRET}@broker/?cafile=/ca.pem", "cafile is for TLS"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url, said):
    """The sentence says what is wrong, and shows no part of a password that was not percent-encoded."""
    with pytest.raises(InvalidParameter) as caught:
        RmqConnect.from_url(url)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(user=texts, password=texts, vhost=texts, port=st.integers(1, 65535), host=st.sampled_from(["h", "1.2.3.4"]))
def test_an_address_leads_to_the_same_place(user, password, vhost, port, host):
    """The address that is shown is a URL again, of the same host, port, virtual host and user."""
    connect = RmqConnect({"host": host, "port": port, "virtual_host": vhost}, (user, password))
    again = RmqConnect.from_url(connect.address)
    for name in ("host", "port", "virtual_host"):
        assert again.rmq_parameters[name] == connect.rmq_parameters[name]
    assert again.rmq_credentials[0] == user
    assert again.address == connect.address


def test_an_address_with_ipv6():
    """An IPv6 host stands in brackets, so that the address is a URL again."""
    address = RmqConnect.from_url("amqp://ann@[::1]:5673/shop").address
    assert address == "amqp://ann@[::1]:5673/shop"


def test_the_password_is_shown_nowhere():
    """Not in the address, nor in a repr, a text or a format."""
    connect = RmqConnect({"host": "broker"}, ("ann", SECRET))
    settings = RmqSettings({"host": "broker"}, ("ann", SECRET))
    for shown in (connect.address, repr(connect), str(connect), f"{connect}", repr(settings), str(settings)):
        assert SECRET not in shown
        assert "ann" in shown


def test_settings_are_a_pair():
    """As in 1.0.0: they unpack into the two parameters of `RmqConnect`."""
    parameters, credentials = rmq_default_settings
    connect = RmqConnect(*rmq_default_settings)
    assert connect.rmq_parameters == parameters
    assert connect.rmq_credentials == credentials


@pytest.mark.parametrize(
    "credentials",
    [
        (),
        ("guest",),
        ("a", "b", "c"),
        "ab",
        ("a", None),
        (b"a", b"b"),
        None,
        5,
    ],
)
def test_wrong_credentials_are_refused(credentials):
    """They are a user and a password, both texts."""
    with pytest.raises(InvalidParameter, match="a user and a password"):
        RmqConnect({}, credentials)


@pytest.mark.parametrize("parameters", [None, 5, "localhost", [("host", "h")], {1: 2}])
def test_wrong_parameters_are_refused(parameters):
    """They are a dictionary of names and values."""
    with pytest.raises(InvalidParameter, match="rmq_parameters"):
        RmqConnect(parameters, ("guest", "guest"))


def test_it_travels_whole():
    """The service hands it to the processes of hard tasks."""
    connect = RmqConnect.from_url(f"amqps://ann:{SECRET}@broker/shop")
    again = pickle.loads(pickle.dumps(connect))
    assert vars(again) == vars(connect)

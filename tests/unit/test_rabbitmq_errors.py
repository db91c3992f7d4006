"""What pika and the broker report becomes the right error, in one line, without a password."""

from __future__ import annotations

import pickle
import ssl

import pytest
from pika import exceptions
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
)

from schedulergodx.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    LaunchUncertain,
    QueueInUse,
    QueueMismatch,
    QueueMissing,
)
from schedulergodx.transport.rabbitmq.errors import Errors, is_refusal, reason_text
from schedulergodx.utils.abstractions import Outgoing
from schedulergodx.utils.rmq_property import RmqConnect

ERRORS = Errors(RmqConnect.from_url("amqp://alice:hunter2@broker.example:5673/shop"))

WRONG_PASSWORD = exceptions.ProbableAuthenticationError(
    repr(exceptions.ConnectionClosedByBroker(403, "ACCESS_REFUSED - Login was refused using PLAIN."))
)
WRONG_VHOST = exceptions.ProbableAccessDeniedError(
    repr(exceptions.ConnectionClosedByBroker(530, "NOT_ALLOWED - vhost shop's not found"))
)
LIMIT = exceptions.ProbableAccessDeniedError(
    repr(exceptions.ConnectionClosedByBroker(530, "NOT_ALLOWED - connection limit (5) is reached"))
)
NEVER_THERE = AMQPConnectionWorkflowFailed(
    [AMQPConnectorSocketConnectError(AMQPConnectorStackTimeout("Timeout while connecting socket to '10.255.255.1'/()"))]
)
SILENT = exceptions.ConnectionClosedByClient(320, "Timeout while setting up AMQP to 'h'/(); ssl=False")
LOST_AT_LOGIN = exceptions.ProbableAuthenticationError(repr(exceptions.StreamLostError("Transport indicated EOF")))
NOBODY_LISTENS = exceptions.AMQPConnectionError(
    AMQPConnectionWorkflowFailed([AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Connection refused"))])
)
WRONG_CERTIFICATE = exceptions.AMQPConnectionError(
    AMQPConnectionWorkflowFailed(
        [
            AMQPConnectorSocketConnectError(
                ssl.SSLError(
                    1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1)"
                )
            )
        ]
    )
)
NO_TLS = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
OUR_CERTIFICATE = exceptions.IncompatibleProtocolError(
    "Stream connection lost: SSLError(1, '[SSL: SSL/TLS_ALERT_UNKNOWN_CA] ssl/tls alert unknown ca (_ssl.c:2580)')"
)
CUT_IN_TLS = exceptions.IncompatibleProtocolError(
    "Stream connection lost: SSLEOFError(8, '[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred (_ssl.c:2580)')"
)
RESTARTING = exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED - broker forced connection closure")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (WRONG_PASSWORD, "403 ACCESS_REFUSED - Login was refused using PLAIN."),
        (WRONG_VHOST, "530 NOT_ALLOWED - vhost shop's not found"),
        (NOBODY_LISTENS, "Connection refused"),
        (LOST_AT_LOGIN, "the other side closed the connection without a word"),
        (NEVER_THERE, "the connection timed out"),
        (SILENT, "it accepts connections but does not answer: is it RabbitMQ?"),
        (RESTARTING, "320 CONNECTION_FORCED - broker forced connection closure"),
        (WRONG_CERTIFICATE, "TLS: the broker's certificate is not accepted: certificate has expired"),
        (NO_TLS, "TLS: that port speaks no TLS"),
        (OUR_CERTIFICATE, "TLS: the broker does not trust our certificate"),
        (exceptions.StreamLostError("Stream connection lost:\n reset"), "Stream connection lost: reset"),
        (exceptions.ConnectionOpenAborted(), "ConnectionOpenAborted"),
    ],
)
def test_the_reason_is_one_line(error: Exception, expected: str) -> None:
    """The cause is found below all that pika wraps around it."""
    assert reason_text(error) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (WRONG_PASSWORD, True),
        (WRONG_VHOST, True),
        (exceptions.AuthenticationError("PLAIN"), True),
        (WRONG_CERTIFICATE, True),
        (NO_TLS, True),
        (OUR_CERTIFICATE, True),
        (CUT_IN_TLS, False),
        (LIMIT, False),
        (LOST_AT_LOGIN, False),
        (NEVER_THERE, False),
        (SILENT, False),
        (NOBODY_LISTENS, False),
        (RESTARTING, False),
    ],
)
def test_only_the_brokers_own_word_is_a_refusal(error: Exception, expected: bool) -> None:
    """A lost connection at login, a limit that passes and a restart are tried again; a refusal is not."""
    assert is_refusal(error) is expected


@pytest.mark.parametrize(
    ("code", "kind"),
    [(403, BrokerRefused), (404, QueueMissing), (405, QueueInUse), (406, QueueMismatch), (541, BrokerError)],
)
def test_a_refused_declaration_names_queue_and_broker(code: int, kind: type[BrokerError]) -> None:
    """The error has the right type, survives pickling, and says where; it never shows the password."""
    error = ERRORS.declaring("orders", exceptions.ChannelClosedByBroker(code, "SAID - by the broker"), "id-1")
    assert type(error) is kind
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.message_id) == (str(error), "id-1")
    assert error.broker == "amqp://alice@broker.example:5673/shop"
    for fact in ("'orders'", "broker.example:5673", "'shop'", "'alice'"):
        assert fact in str(error)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(("was_sent", "kind"), [(True, LaunchUncertain), (False, BrokerUnavailable)])
def test_what_close_leaves_is_uncertain_only_if_it_was_sent(was_sent: bool, kind: type[BrokerError]) -> None:
    """Nobody is told "perhaps" about a message that never left."""
    outgoing = Outgoing(queue="q", body=b"", message_id="id-1", on_settled=lambda *_: None, was_sent=was_sent)
    assert type(ERRORS.closed(outgoing)) is kind

"""From what pika and the broker report to the errors of this library. Nothing here shows a password."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorPhaseErrorBase,
    AMQPConnectorStackTimeout,
)
from pika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ChannelClosed,
    ConnectionClosed,
)

from schedulergodx.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    LaunchUncertain,
    QueueFull,
    QueueInUse,
    QueueMismatch,
    QueueMissing,
)

if TYPE_CHECKING:
    from schedulergodx.utils.abstractions import Outgoing
    from schedulergodx.utils.rmq_property import RmqConnect

Error = TypeVar("Error", bound=BrokerError)

ACCESS_REFUSED = 403
NOT_FOUND = 404
RESOURCE_LOCKED = 405
PRECONDITION_FAILED = 406
NOT_ALLOWED = 530

# When the broker ends a connection that is not open yet, pika reports the reason only as the repr of another error.
_REPORTED = re.compile(r"\((?P<code>\d{3})\) (?P<quote>['\"])(?P<text>.*)(?P=quote)", re.DOTALL)
_LOST = re.compile(r"StreamLostError: \((?P<quote>['\"])(?P<text>.*)(?P=quote),\)", re.DOTALL)
_TLS = re.compile(r"\[SSL: (?P<name>[^]\s]+)\]\s*(?P<text>[^(]*)")
_TLS_CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"
_TLS_OTHERS = {
    "WRONG_VERSION_NUMBER": "that port speaks no TLS",
    "CERTIFICATE_REQUIRED": "the broker wants a certificate from us",
    "UNKNOWN_CA": "the broker does not trust our certificate",
    "BAD_CERTIFICATE": "the broker refused our certificate",
    "CERTIFICATE_EXPIRED": "the broker refused our certificate, which has expired",
    "CERTIFICATE_REVOKED": "the broker refused our certificate, which was revoked",
    "CERTIFICATE_UNKNOWN": "the broker refused our certificate",
    "PROTOCOL_VERSION": "the broker speaks no version of TLS that we do",
    "HANDSHAKE_FAILURE": "the broker and we have no cipher in common, or it wants a certificate from us",
}
"""What ends the name of an error of TLS that stays one, however often it is tried."""
_TLS_PREFIX = "TLS: "

_NO_HANDSHAKE, _END_OF_STREAM = "Timeout while setting up AMQP", "Transport indicated EOF"
"""pika's words for a side that never says anything, and for one that closes."""
_SILENT = "it accepts connections but does not answer: is it RabbitMQ?"
_HUNG_UP = "the other side closed the connection without a word"


def root_of(error: BaseException) -> BaseException:
    """Return the cause inside the layers that pika puts around it."""
    if isinstance(error, AMQPConnectionWorkflowFailed) and error.exceptions:
        return root_of(error.exceptions[-1])
    if isinstance(error, AMQPConnectorPhaseErrorBase):
        return root_of(error.exception)
    if isinstance(error, AMQPConnectionError) and error.args and isinstance(error.args[0], BaseException):
        return root_of(error.args[0])
    return error


def code_and_text(error: BaseException) -> tuple[int, str]:
    """Return the broker's reply code, or 0 when the reason is not the broker's, and the reason in one line."""
    root = root_of(error)
    if (refusal := _tls_refusal(root)) is not None:
        return 0, _TLS_PREFIX + refusal
    if isinstance(root, (ConnectionClosed, ChannelClosed)):
        text = _one_line(root.reply_text)
        return (0, _SILENT) if text.startswith(_NO_HANDSHAKE) else (root.reply_code, text)
    if isinstance(root, (OSError, AMQPConnectorStackTimeout)):
        said = root.strerror or str(root) if isinstance(root, OSError) else "the connection timed out"
        return 0, _one_line(said or type(root).__name__)
    text = _one_line(str(root.args[0]) if root.args else "") or type(root).__name__
    if reported := _REPORTED.search(text):
        return int(reported["code"]), reported["text"]
    if lost := _LOST.search(text):
        return 0, _HUNG_UP if lost["text"] == _END_OF_STREAM else lost["text"]
    return 0, text


def reason_text(error: BaseException) -> str:
    """Return the reason in one line, with the broker's reply code if it has one."""
    code, text = code_and_text(error)
    return f"{code} {text}" if code else text


def is_refusal(error: BaseException) -> bool:
    """Whether a connection that could not be opened was refused, so that trying again cannot help.

    Only the broker's own word counts, and that of TLS about a certificate: a connection lost in the middle of the
    login is no refusal.
    """
    root = root_of(error)
    if isinstance(root, AuthenticationError) or _tls_refusal(root) is not None:
        return True
    code, text = code_and_text(error)
    # The limit of connections of a user or virtual host comes under the same code, and passes.
    return code == ACCESS_REFUSED or (code == NOT_ALLOWED and "limit" not in text)


def _tls_refusal(root: BaseException) -> str | None:
    """Return why there will never be TLS with this broker, or None if that is not so.

    pika passes on some errors of TLS only as the text of another error.
    """
    found = _TLS.search(str(root.args[-1])) if root.args else None
    if found is None:
        return None
    if found["name"] == _TLS_CERTIFICATE:
        said = getattr(root, "verify_message", "") or found["text"].rpartition("verify failed:")[2]
        return f"the broker's certificate is not accepted: {_one_line(said).rstrip('.')}"
    return next((text for name, text in _TLS_OTHERS.items() if found["name"].endswith(name)), None)


def _one_line(text: str) -> str:
    return " ".join(text.split())


class Errors:
    """Makes the errors of one broker: each names host, port, virtual host and user."""

    def __init__(self, connect: RmqConnect) -> None:
        self.address = connect.address
        parameters = connect.rmq_parameters
        self._where = (
            f"RabbitMQ at {parameters['host']}:{parameters['port']}, virtual host {parameters['virtual_host']!r}, "
            f"user {connect.rmq_credentials[0]!r}"
        )

    def refused(self, what: str, message_id: str | None = None) -> BrokerRefused:
        """Say that the broker refused us: `what` is its reason."""
        advice = "Check password, virtual host and permissions."
        if _TLS_PREFIX in what:
            advice = "Check port, certificates, cafile, and that the host is named as in the broker's certificate."
        return self._make(BrokerRefused, "refused: " + what, advice, message_id)

    def declaring(self, queue: str, error: BaseException, message_id: str | None = None) -> BrokerError:
        """Say why `queue` could not be declared or consumed."""
        code, _ = code_and_text(error)
        said = f"queue {queue!r}: {reason_text(error)}"
        if code == ACCESS_REFUSED:
            return self.refused(said, message_id)
        if code == PRECONDITION_FAILED:
            return self._make(
                QueueMismatch, said, "Delete that queue, or use the settings that it was made with.", message_id
            )
        if code == RESOURCE_LOCKED:
            return self.in_use(queue, message_id)
        if code == NOT_FOUND:
            return self._make(QueueMissing, said, "Create the queue, or allow this user to.", message_id)
        return self._make(BrokerError, said, "", message_id)

    def in_use(self, queue: str, message_id: str | None = None, *, owner: str = "") -> QueueInUse:
        """Say that somebody else takes from `queue`; `owner` says who, or is ""."""
        return self._make(
            QueueInUse,
            f"queue {queue!r} is taken by {owner or 'another service'}",
            "Stop that one, use another queue, or wait as a standby.",
            message_id,
        )

    def missing(self, outgoing: Outgoing) -> QueueMissing:
        """Say that the queue of `outgoing` does not exist."""
        text = f"no queue {outgoing.queue!r}: message {outgoing.message_id} was not kept"
        return self._make(QueueMissing, text, "Start the service that makes the queue.", outgoing.message_id)

    def full(self, outgoing: Outgoing) -> QueueFull:
        """Say that the broker did not take `outgoing` on."""
        text = f"queue {outgoing.queue!r} refused message {outgoing.message_id}: it is full, or failing"
        return self._make(QueueFull, text, "Try again later.", outgoing.message_id)

    def publishing(self, outgoing: Outgoing, error: BaseException) -> BrokerError:
        """Say why the broker closed the channel over `outgoing`."""
        code, _ = code_and_text(error)
        said = f"message {outgoing.message_id} to queue {outgoing.queue!r}: {reason_text(error)}"
        if code == ACCESS_REFUSED:
            return self.refused(said, outgoing.message_id)
        if code == NOT_FOUND:
            return self.missing(outgoing)
        return self._make(BrokerError, said, "It was not kept.", outgoing.message_id)

    def closed(self, outgoing: Outgoing) -> BrokerError:
        """Say that the transport was closed before `outgoing` was confirmed."""
        if outgoing.was_sent:
            text = f"message {outgoing.message_id} was sent but not confirmed before the transport was closed"
            return self._make(LaunchUncertain, text, "It may have been kept.", outgoing.message_id)
        text = f"the transport was closed before message {outgoing.message_id} was sent"
        return self._make(BrokerUnavailable, text, "", outgoing.message_id)

    def _make(self, kind: type[Error], what: str, advice: str, message_id: str | None) -> Error:
        return kind(f"{what} ({self._where}). {advice}".rstrip(), message_id=message_id, broker=self.address)

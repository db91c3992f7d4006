"""A transport and a publisher of which a test decides what becomes of each message."""

from schedulergodx.client.publisher import Publisher
from schedulergodx.errors import Closed
from schedulergodx.utils.abstractions import ConnectionState, ConnectionStatus
from schedulergodx_testing import FakeClock

BROKER = "amqp://guest@broker:5672/"


class StubTransport:
    """Keeps what is published; the test settles it. With `settles`, it does so at once, with that."""

    def __init__(self, *, settles=None, state=ConnectionState.RECOVERING):
        self.published = []
        self.withdrawn = []
        self.settles = settles
        self.state = state
        self.was_sent = False
        self.is_late = False
        self.own_threads = {}

    def publish(self, outgoing):
        if self.settles is Closed:
            raise Closed("closed")
        outgoing.was_sent = self.was_sent
        self.published.append(outgoing)
        if self.settles is not None:
            outgoing.on_settled(outgoing, self.settles(outgoing))

    def withdraw(self, outgoing):
        if self.is_late:
            outgoing.on_settled(outgoing, None)
            return False
        self.withdrawn.append(outgoing)
        return True

    def threads(self):
        return dict(self.own_threads)

    def status(self):
        return ConnectionStatus(state=self.state, broker=BROKER, attempts=3, reason="connection refused")


def publisher_of(transport, failed=None, *, clock=None, **bounds):
    failures = [] if failed is None else failed
    return Publisher(
        lambda: transport,
        clock or FakeClock(),
        timeout_s=5.0,
        on_failed=lambda out, error: failures.append((out, error)),
        **bounds,
    )


def confirmed(_):
    return None


class InterruptedClock(FakeClock):
    """Where others wait, Ctrl-C comes."""

    def wait_for(self, inbox, timeout_s):
        raise KeyboardInterrupt

"""The answers: what has come is kept for whoever asks, and whoever waits is woken."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from schedulergodx.errors import Closed, MessageRejected, OutcomePruned, SchedulerError, UnknownMessageId
from schedulergodx.rules.lifecycle import Code, Outcome
from schedulergodx.utils.abstractions import (
    ConnectionChanged,
    ConnectionState,
    ConsumeFailed,
    ConsumeResumed,
    Delivery,
    TransportEvent,
)
from schedulergodx.utils.message import answers, bundles, envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schedulergodx.client.trust import Trust
    from schedulergodx.utils.logger import CoreLogger

Heard: TypeAlias = Outcome | SchedulerError
"""What a waiter gets: the outcome, or why there will be none."""

KEPT_MAX = 10_000
"""Outcomes kept in memory; older ones are asked for at the service again."""
KEPT_BYTES_MAX = 64 * 1024 * 1024
"""The same in bytes of the messages that they came in; the newest is kept, however large."""


class Waiting(Enum):
    """What `Answers.wait` found."""

    HERE = "it was here, and has been handed over"
    COMING = "it comes by itself"
    MUST_ASK = "it comes only if the service is asked"


class Answers:
    """Outcomes by message id, and who waits for them. Safe from any thread.

    What one client launched is known to it (`expect`) until its outcome is pushed out by newer ones.
    """

    def __init__(self, kept_max: int = KEPT_MAX, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._lock = threading.Lock()
        self._kept_max = kept_max
        self._kept_bytes_max = kept_bytes_max
        self._kept_bytes = 0
        self._sizes: dict[str, int] = {}
        self._expected: set[str] = set()
        self._doubtful: set[str] = set()
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()
        self._waiters: dict[str, list[Callable[[Heard], None]]] = {}
        self._end: SchedulerError | None = None

    def expect(self, message_id: str) -> bool:
        """Note a launch. Returns False when its id is known already."""
        with self._lock:
            if message_id in self._expected or message_id in self._outcomes:
                return False
            self._expected.add(message_id)
            return True

    def forget(self, message_id: str) -> None:
        """Take a launch back that did not go out."""
        with self._lock:
            self._expected.discard(message_id)

    def is_known(self, message_id: str) -> bool:
        """Return whether an answer is here, or is on its way by itself."""
        with self._lock:
            return message_id in self._outcomes or self._is_coming(message_id)

    def is_mine(self, message_id: str) -> bool:
        """Return whether this client launched it, or asked for it, and has not forgotten it."""
        with self._lock:
            return message_id in self._outcomes or message_id in self._expected

    def get(self, message_id: str) -> Outcome | None:
        """Return the outcome, or None when it has not come."""
        return self._outcomes.get(message_id)  # without the lock: an outcome never changes, and one look is all

    def wait(self, message_id: str, on_heard: Callable[[Heard], None]) -> Waiting:
        """Have `on_heard` called once, with what comes; at once, if it is here.

        On `MUST_ASK` the caller asks. This is found out in the moment of registering: an answer or a loss before it
        shows here, and one after it wakes the waiter.
        """
        with self._lock:
            heard: Heard | None = self._outcomes.get(message_id) or self._end
            if heard is None:
                self._waiters.setdefault(message_id, []).append(on_heard)
                return Waiting.COMING if self._is_coming(message_id) else Waiting.MUST_ASK
        on_heard(heard)
        return Waiting.HERE

    def has_waiters(self) -> bool:
        """Return whether anybody waits."""
        with self._lock:
            return bool(self._waiters)

    def stop_waiting(self, message_id: str, on_heard: Callable[[Heard], None]) -> None:
        """Take a waiter back."""
        with self._lock:
            waiters = self._waiters.get(message_id, [])
            if on_heard in waiters:
                waiters.remove(on_heard)
            if not waiters:
                self._waiters.pop(message_id, None)

    def hear_all(self, heard: Iterable[tuple[Outcome, int]]) -> None:
        """Keep outcomes and wake whoever waits for them. A second one of the same id is passed over.

        Args:
            heard: what came, each with the bytes of the message that it came in.
        """
        to_wake: list[tuple[Callable[[Heard], None], Heard]] = []
        with self._lock:
            for outcome, size_bytes in heard:
                message_id = outcome.message_id
                self._expected.discard(message_id)
                self._doubtful.discard(message_id)
                is_unknown = outcome.report.code in _UNKNOWN
                if not is_unknown and message_id not in self._outcomes:
                    self._keep(outcome, size_bytes)
                if (waiters := self._waiters.pop(message_id, None)) is not None:
                    told: Heard = _unknown(outcome) if is_unknown else outcome
                    to_wake += [(on_heard, told) for on_heard in waiters]
        for on_heard, told in to_wake:
            on_heard(told)

    def _keep(self, outcome: Outcome, size_bytes: int) -> None:
        self._outcomes[outcome.message_id] = outcome
        self._sizes[outcome.message_id] = size_bytes
        self._kept_bytes += size_bytes
        while len(self._outcomes) > self._kept_max or (
            self._kept_bytes > self._kept_bytes_max and len(self._outcomes) > 1
        ):
            message_id, _ = self._outcomes.popitem(last=False)
            self._kept_bytes -= self._sizes.pop(message_id)

    def _is_coming(self, message_id: str) -> bool:
        return message_id in self._expected and message_id not in self._doubtful

    def doubt(self) -> list[str]:
        """Note that answers may have been lost with the connection. Returns the ids that somebody waits for."""
        with self._lock:
            self._doubtful = set(self._expected)
            return list(self._waiters)

    def asked(self, message_ids: Iterable[str]) -> None:
        """Note that the service was asked for these, so that their answers are on their way."""
        with self._lock:
            self._expected.update(message_ids)
            self._doubtful.difference_update(message_ids)

    def fail(self, message_ids: Iterable[str], error: SchedulerError) -> None:
        """Wake whoever waits for these: their launch did not go out, or the service could not be asked."""
        with self._lock:
            self._expected.difference_update(message_ids)
            waiters = [on_heard for one in message_ids for on_heard in self._waiters.pop(one, [])]
        for on_heard in waiters:
            on_heard(error)

    def end(self, error: SchedulerError) -> None:
        """Wake everybody: there will be no more answers, because of `error`."""
        with self._lock:
            self._end = error
            waiters = [on_heard for waiting in self._waiters.values() for on_heard in waiting]
            self._waiters.clear()
        for on_heard in waiters:
            on_heard(error)

    def raise_if_ended(self) -> None:
        """Raise the error for which there are no more answers, if there is one."""
        with self._lock:
            error = self._end
        if error is not None:
            raise error.with_traceback(None)

    def resume(self) -> None:
        """Take `end` back: answers come again."""
        with self._lock:
            if not isinstance(self._end, Closed):
                self._end = None


_UNKNOWN: dict[Code, type[UnknownMessageId]] = {Code.UNKNOWN_ID: UnknownMessageId, Code.OUTCOME_PRUNED: OutcomePruned}
"""The answers that are no outcomes, and what they mean to whoever waits for one."""


class Consumer:
    """Listens to the transport for the client. Called from its threads."""

    def __init__(  # noqa: PLR0913 - what it tells, and what it asks
        self,
        answers_: Answers,
        logger: CoreLogger,
        *,
        message_bytes_max: int,
        trust: Trust,
        ack: Callable[[Delivery], None],
        ask: Callable[[list[str]], None],
    ) -> None:
        self._answers = answers_
        self._logger = logger
        self._message_bytes_max = message_bytes_max
        self._trust = trust
        self._ack = ack
        self._ask = ask
        self._was_up = False

    def on_event(self, event: TransportEvent) -> None:
        """Take an event of the transport."""
        match event:
            case Delivery():
                self._take(event)  # before: W12
            case ConsumeFailed():
                self._logger.error("no answers can be received: %s", event.error)
                self._answers.end(event.error)
            case ConnectionChanged() if event.is_consuming and event.status.state is ConnectionState.UP:
                self._on_up()
            case ConsumeResumed():
                self._ask_again()
            case ConnectionChanged():
                pass

    def _take(self, delivery: Delivery) -> None:
        """Take one answer, or a bundle of them; what cannot be believed is thrown away by itself."""
        heard: list[tuple[Outcome, int]] = []
        try:
            for message in bundles.cut(delivery.body):
                heard += self._outcome(message)
        except MessageRejected as error:
            self._logger.warning("answers were thrown away: %s: %s", error.reason, error)
        if heard:
            self._answers.hear_all(heard)
        self._ack(delivery)

    def _outcome(self, message: bytes) -> tuple[tuple[Outcome, int], ...]:
        """Return what one answer tells, as `hear_all` takes it; nothing, when that is no outcome or not believed."""
        try:
            outcome = self._read(message)
        except MessageRejected as error:
            self._logger.warning("an answer was thrown away: %s: %s", error.reason, error)
            return ()
        if outcome is None:
            return ()
        # Not `value`, which is a property in Python.
        self._logger.debug("answer: %s (message %s)", outcome.report.code._value_, outcome.message_id)
        return ((outcome, len(message)),)

    def _read(self, message: bytes) -> Outcome | None:
        """Return what an answer tells. Nothing is parsed that is not certain to come from the service."""
        envelope.check_size(message, bytes_max=self._message_bytes_max)
        body = self._trust.open(message).body
        return answers.outcome_of(envelope.read(body))

    def _on_up(self) -> None:
        self._answers.resume()
        if self._was_up:
            self._ask_again()
        self._was_up = True

    def _ask_again(self) -> None:
        """Ask for what is waited for: the queue of answers may be a new one, and the service has the outcomes."""
        waited_for = self._answers.doubt()
        if waited_for:
            with suppress(Closed):  # by somebody, a moment ago: `end` has woken those who wait
                self._ask(waited_for)


def _unknown(outcome: Outcome) -> UnknownMessageId:
    return _UNKNOWN[outcome.code](outcome.report.message, message_id=outcome.message_id)

"""From a delivery to a stored task: read it, decide, store or answer it, and mark it to be acked or rejected."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schedulergodx.errors import MessageRejected
from schedulergodx.rules.intake import Intake, Question, on_launch, on_question, staleness
from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.rules.tasks import Added
from schedulergodx.service.unproven import DROPPED, Unproven
from schedulergodx.utils.message import bundles, envelope, launches
from schedulergodx.utils.message.kinds import Message
from schedulergodx.utils.message.signature import REASON as BAD_SIGNATURE
from schedulergodx.utils.message.signature import Direction

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from schedulergodx.rules.tasks import TaskSpec
    from schedulergodx.service.admission import Admission
    from schedulergodx.service.outcomes import Outcomes
    from schedulergodx.service.takers import Takers
    from schedulergodx.service.turn import Turn
    from schedulergodx.utils.abstractions import Delivery, Storage
    from schedulergodx.utils.message.envelope import Envelope
    from schedulergodx.utils.message.signature import Signatures

QUESTIONS_MAX = 1000
"""How many ids one ASK may name."""


@dataclass(slots=True)
class _Arrival:
    """A delivery, which is acked or rejected as a whole, and what is known of the messages in it.

    Attributes:
        count: how many messages there are: one, or those of a bundle.
        messages: those that could be read, with their places, from 1.
        refused: the first that was refused, and where it stands; 0: the delivery itself.
        is_unproven: whether nothing was refused but for its signature.
    """

    delivery: Delivery
    count: int = 1
    messages: list[tuple[int, Envelope]] = field(default_factory=list)
    refused: tuple[int, MessageRejected] | None = None
    is_unproven: bool = True

    def refuse(self, place: int, error: MessageRejected) -> None:
        """Note that a message is refused."""
        self.is_unproven = self.is_unproven and error.reason == BAD_SIGNATURE
        if self.refused is None or place < self.refused[0]:
            self.refused = (place, error)

    def refusal(self) -> MessageRejected | None:
        """Return why it goes to the dead letters, saying which of its messages is to blame; None if it does not."""
        if self.refused is None:
            return None
        place, error = self.refused
        if not place or self.count == 1:
            return error
        return MessageRejected(f"message {place} of {self.count}: {error}", reason=error.reason)


class Consumer:
    """Takes deliveries in. Used within a transaction of the loop; nothing that a message holds raises out of it."""

    def __init__(  # noqa: PLR0913 - what it asks and tells, and two bounds
        self,
        storage: Storage,
        outcomes: Outcomes,
        signatures: Signatures,
        admission: Admission,
        takers: Takers,
        *,
        message_bytes_max: int,
        max_age_s: float,
    ) -> None:
        self._storage = storage
        self._outcomes = outcomes
        self._signatures = signatures
        self._admission = admission
        self._takers = takers
        self._message_bytes_max = message_bytes_max
        self._max_age_s = max_age_s
        self._unproven = Unproven()

    def take(self, deliveries: Iterable[Delivery], turn: Turn, *, now: datetime) -> None:
        """Store, answer or refuse what `deliveries` hold, one after the other.

        Each message of a bundle is taken as if it had come alone. If any is refused, the whole bundle goes to the dead
        letters beside what was taken of it: whoever sends it from there again makes no second task.
        """
        arrivals = [self._opened(one) for one in deliveries]
        launched = [
            message.message_id
            for arrival in arrivals
            for _, message in arrival.messages
            if message.kind is Message.TASK
        ]
        self._storage.look_up(launched)
        for arrival in arrivals:
            for place, message in arrival.messages:
                self._take(arrival, place, message, turn, now)
            self._conclude(arrival, turn, now)

    def _opened(self, delivery: Delivery) -> _Arrival:
        """Return what a delivery says, as far as it can be read."""
        arrival = _Arrival(delivery)
        try:
            messages = bundles.cut(delivery.body)
        except MessageRejected as error:
            arrival.refuse(0, error)
            return arrival
        for place, data in enumerate(messages, start=1):
            arrival.count = place
            try:
                arrival.messages.append((place, self._read(data)))
            except MessageRejected as error:
                arrival.refuse(place, error)
        return arrival

    def _conclude(self, arrival: _Arrival, turn: Turn, now: datetime) -> None:
        """Mark a delivery to be acked or rejected, now that all of it was looked at."""
        delivery, error = arrival.delivery, arrival.refusal()
        if error is None:
            turn.acks.append(delivery)
        elif arrival.is_unproven and not self._unproven.may_keep(len(delivery.body), now=now):
            turn.say(logging.WARNING, DROPPED, self._unproven.dropped)
            turn.acks.append(delivery)
        else:
            self._reject(delivery, error, turn)

    def _take(self, arrival: _Arrival, place: int, message: Envelope, turn: Turn, now: datetime) -> None:
        self._takers.hear(message)
        if message.unknown_fields:
            what = "%d unknown fields passed over (message %s)"
            turn.say(logging.DEBUG, what, message.unknown_fields, message.message_id)
        try:
            self._take_message(message, turn, now)
        except MessageRejected as error:
            arrival.refuse(place, error)
            if message.kind is Message.TASK and error.reason != Code.STALE.value:  # that is its outcome
                self._outcomes.refuse(
                    message.message_id,
                    message.reply_to,
                    turn,
                    client=message.client,
                    code=Code.NOT_ALLOWED if error.reason == Code.NOT_ALLOWED.value else Code.INVALID_TASK,
                    message=str(error),
                )

    def _read(self, data: bytes) -> Envelope:
        """Return what a message says. Nothing is parsed of which it is not certain who sent it."""
        envelope.check_size(data, bytes_max=self._message_bytes_max)
        opened = self._signatures.open(Direction.REQUEST, data)
        message = envelope.read(opened.body)
        opened.check(message.client)
        if opened.signer is not None and message.issued_at is None and message.kind is Message.TASK:
            raise MessageRejected("a signed launch says when it was issued, in 'issued_at'; this one does not")
        return message

    def _take_message(self, message: Envelope, turn: Turn, now: datetime) -> None:
        match message.kind:
            case Message.TASK:
                self._take_launch(message, turn, now)
            case Message.ASK:
                self._take_questions(message, turn)
            case Message.INITIALIZATION:
                self._outcomes.greet(message.message_id, message.reply_to, turn, client=message.client)
            case Message.INFO:
                what = "info message from client %s (message %s)"
                turn.say(logging.INFO, what, message.client, message.message_id)
            case Message.ERROR:
                raise MessageRejected("a service takes no messages of type 2 (ERROR)", reason="UNKNOWN_TYPE")

    def _take_launch(self, message: Envelope, turn: Turn, now: datetime) -> None:
        task = self._admission.take(launches.task_of(message, received_at=now))
        self._refuse_stale(task, turn, now)
        added = self._storage.add(task, now=now)
        state = None if added is Added.NEW else self._storage.find(task.message_id)
        match on_launch(added, is_ended=state is not None and state.outcome is not None):
            case Intake.KEEP:
                turn.say(logging.INFO, "task %s stored (message %s)", task.name, task.message_id)
            case Intake.ANSWER if state is not None and state.outcome is not None:
                turn.say(logging.INFO, "launched again, answered again (message %s)", task.message_id)
                if task.reply_to:
                    self._outcomes.tell(state.outcome, task.reply_to, turn, client=task.client)
            case Intake.WATCH:
                if task.reply_to:
                    self._storage.add_watcher(task.message_id, task.reply_to, client=task.client)
            case Intake.REFUSE:
                self._refuse_conflict(task.message_id, message, turn)
            case Intake.SAY_PRUNED:
                turn.say(logging.INFO, "launched again long after its end; not run again (message %s)", task.message_id)
                self._say_pruned(task.message_id, message, turn)

    def _refuse_stale(self, task: TaskSpec, turn: Turn, now: datetime) -> None:
        """Refuse an old launch, unless it is known: then it is only answered again. Raises MessageRejected.

        That becomes its outcome: after a crash it comes again, and may seem young enough to a clock that was set.
        """
        why = staleness(task.issued_at, now, max_age_s=self._max_age_s)
        message_id = task.message_id
        if why and self._storage.find(message_id) is None and not self._storage.is_forgotten(message_id):
            self._storage.add(task, now=now)
            self._outcomes.end(message_id, Report(code=Code.STALE, message=why), turn, client=task.client, now=now)
            raise MessageRejected(why, reason=Code.STALE.value)

    def _refuse_conflict(self, message_id: str, message: Envelope, turn: Turn) -> None:
        what = "refused: client %s launched another task under a known id (message %s)"
        turn.say(logging.WARNING, what, message.client, message_id)
        self._outcomes.refuse(
            message_id,
            message.reply_to,
            turn,
            client=message.client,
            code=Code.DUPLICATE_ID,
            message=f"the id {message_id!r} belongs to another launch; this one was not accepted. Use an id generator "
            "that never repeats itself, such as the default one.",
        )

    def _say_pruned(self, message_id: str, message: Envelope, turn: Turn) -> None:
        self._outcomes.refuse(
            message_id,
            message.reply_to,
            turn,
            client=message.client,
            code=Code.OUTCOME_PRUNED,
            message=f"the task with the id {message_id!r} has ended, and its outcome, which the service keeps for a "
            "stated time, is forgotten; it is not run again",
        )

    def _take_questions(self, message: Envelope, turn: Turn) -> None:
        ids = message.arguments.get("ids")
        if not isinstance(ids, list) or len(ids) > QUESTIONS_MAX or not all(envelope.is_message_id(one) for one in ids):
            raise envelope.bad("ids", f"a list of at most {QUESTIONS_MAX} message ids", ids)
        is_waiting_wanted = envelope.flag_field(message.arguments, "wait", default=False)
        for message_id in dict.fromkeys(ids):
            self._take_question(message_id, message, turn, is_waiting_wanted=is_waiting_wanted)

    def _take_question(self, message_id: str, message: Envelope, turn: Turn, *, is_waiting_wanted: bool) -> None:
        queue = message.reply_to
        if not queue:
            return
        state = self._storage.find(message_id)
        outcome = None if state is None else state.outcome
        question = on_question(
            is_known=state is not None,
            is_forgotten=state is None and self._storage.is_forgotten(message_id),
            is_ended=outcome is not None,
            is_waiting_wanted=is_waiting_wanted,
        )
        if question is Question.ANSWER and outcome is not None:
            self._outcomes.tell(outcome, queue, turn, client=message.client)
        elif question is Question.WATCH:
            self._storage.add_watcher(message_id, queue, client=message.client)
        elif question is Question.SAY_STATUS and state is not None:
            self._outcomes.say_status(state, queue, turn, client=message.client)
        elif question is Question.SAY_PRUNED:
            self._say_pruned(message_id, message, turn)
        else:
            self._outcomes.refuse(
                message_id,
                queue,
                turn,
                client=message.client,
                code=Code.UNKNOWN_ID,
                message=f"this service has no task with the id {message_id!r}: it was never stored, or it ended so "
                "long ago that its id is forgotten, too",
            )

    def _reject(self, delivery: Delivery, error: MessageRejected, turn: Turn) -> None:
        turn.say(logging.WARNING, "message rejected to the dead letters: %s: %s", error.reason, error)
        turn.rejects.append((delivery, f"{error.reason}: {error}"))

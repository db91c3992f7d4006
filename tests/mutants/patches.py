"""Mutants of the broker in memory and of the file transport: each a small, named mistake in their source.

A mutant is one place in one module, and what stands there instead. The place must be found exactly once: whoever
changes the code there changes the mutant with it.
"""

# ruff: noqa: E501 - what stands in a source is quoted as it stands there

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake.

    Attributes:
        name: in words.
        module: where.
        old, new: what stands there, and what stands there instead.
    """

    name: str
    module: str
    old: str
    new: str

    @property
    def suite(self) -> str:
        """The contract that has to notice."""
        return "memory" if self.module.startswith("schedulergodx_testing.") else "sqlite"


_MEMORY, _FILE = "schedulergodx_testing.memory", "schedulergodx.transport.sqlite"
_QUEUES, _STORE, _OUT, _IN, _LINK, _TRANSPORT = (
    f"{_MEMORY}.{name}" for name in ("queues", "store", "publishing", "consuming", "link", "transport")
)
_SQL, _TURN, _WORKER, _OUTBOX = (f"{_FILE}.{name}" for name in ("queue_file", "turn", "worker", "outbox"))

MUTANTS = (
    # --- The broker in memory
    Mutant("last in, first out", _QUEUES, "return self._fresh.popleft()", "return self._fresh.pop()"),
    Mutant("given back to the tail", _QUEUES, "        self._put(message)\n\n    def put_again",
           "        self.add(message)\n\n    def put_again"),
    Mutant("given back behind one that waits", _QUEUES,
           "self._returned[0][0] < self._fresh[0].place", "self._returned[0][0] < self._fresh[0].place - 1"),
    Mutant("never marked as redelivered", _IN, "is_redelivered, message.is_redelivered = message.is_redelivered, True",
           "is_redelivered = False"),
    Mutant("always marked as redelivered", _IN, "is_redelivered, message.is_redelivered = message.is_redelivered, True",
           "is_redelivered = message.is_redelivered = True"),
    Mutant("prefetch one too many", _IN, "return len(self.unacked) < self.prefetch",
           "return len(self.unacked) <= self.prefetch"),
    Mutant("prefetch one too few", _IN, "self.prefetch = wish.prefetch", "self.prefetch = max(1, wish.prefetch - 1)"),
    Mutant("prefetch does not bind", _IN, "return len(self.unacked) < self.prefetch", "return True"),
    Mutant("ack of several too greedy", _IN, "together = list(takewhile(wanted.__contains__, channel.handed))",
           "together = list(channel.handed)"),
    Mutant("an ack makes no room", _STORE,
           "        self._fill(channel)\n        return messages", "        return messages"),
    Mutant("an ack is forgotten", _IN, "for message in self.hub.store.ack(channel, numbers):", "for message in ():"),
    Mutant("turn lost with the last message", _STORE, "if queue.spec.is_quorum and len(", "if len("),
    Mutant("turn kept with the last message of a quorum queue", _STORE, "if queue.spec.is_quorum and len(", "if False and len("),
    Mutant("all to the first consumer", _STORE, "                takers.append(channel)\n\n    # --- Messages out",
           "                takers.appendleft(channel)\n\n    # --- Messages out"),
    Mutant("dead letters may differ", _STORE, "            return difference\n        queue =",
           "            pass\n        queue ="),
    Mutant("confirmed before kept", _OUT, "        message = _message(outgoing)\n        answer",
           "        message = _message(outgoing)\n        self.settle(outgoing, None)\n        answer"),
    Mutant("unroutable confirmed", _OUT, 'if answer == "returned":', 'if answer == "nothing":'),
    Mutant("unroutable not sent again", _OUT, "if queue is not None and outgoing in self.unsettled and outgoing not in",
           "if False and outgoing not in"),
    Mutant("full confirmed", _OUT, 'elif answer == "refused":', 'elif answer == "nothing":'),
    Mutant("full one too late", _STORE, "len(queue) >= limit", "len(queue) > limit"),
    Mutant("unacked count for a limit", _STORE, "if limit is not None and len(queue) >= limit:",
           "if limit is not None and len(queue) + sum(len(one.unacked) for one in queue.holders) >= limit:"),
    Mutant("exclusive is not enforced", _IN, "if owner is not None and owner is not connection:", "if False:"),
    Mutant("an owner for ever", _STORE,
           "            del self._owners[name]\n", "            pass\n"),
    Mutant("a standby is refused", _IN, "if wish.patience is None and not wish.is_standby:",
           "if wish.patience is None:"),
    Mutant("queues never expire", _STORE, "if queue.spec.expires_after_s is not None and not queue.channels",
           "if False and not queue.channels"),
    Mutant("queues expire under a consumer", _STORE,
           "queue.spec.expires_after_s is not None and not queue.channels and", "queue.spec.expires_after_s is not None and"),
    Mutant("reject loses", _TRANSPORT, "            self._publishing.publish(\n                DeadLetter(",
           "            self.ack([delivery])\n            return\n            self._publishing.publish(\n                DeadLetter("),
    Mutant("reject leaves the message", _TRANSPORT, "                if error is None:\n                    self.ack([delivery])",
           "                if error is None:\n                    self.give_back([])"),
    Mutant("dead letter without its reason", _OUT, "return Message(outgoing.body, outgoing.message_id, outgoing.reason,",
           'return Message(outgoing.body, outgoing.message_id, "",'),
    Mutant("rejected twice, dead twice", _IN, "if numbers[0] not in channel.rejected:", "if True:"),
    Mutant("close keeps what is unacked", _STORE, "        _put_back(queue, messages)\n        self._begin",
           "        self._begin"),
    Mutant("a cut keeps what is unacked", _IN, "            self.hub.store.close(channel)\n\n    def on_down",
           "            pass\n\n    def on_down"),
    Mutant("stop does not stop", _IN, "        self.hub.store.stop(channel)\n", "        pass\n"),
    Mutant("stop gives back", _IN, "        self.hub.store.stop(channel)\n", "        self.hub.store.close(channel)\n"),
    Mutant("a deleted queue goes unnoticed", _STORE, "            channel.on_cancelled()\n", "            pass\n"),
    Mutant("declare empties", _STORE, "        if queue is None:\n            queue = self.queues[spec.name] = Queue(spec)",
           "        if True:\n            queue = self.queues[spec.name] = Queue(spec)"),
    Mutant("any arguments will do", _STORE, "elif difference := _difference(queue.spec, spec):",
           "elif difference := '':"),
    Mutant("an alarm is not heard of", _OUT, "        if self.hub.is_alarmed:\n            self._hold(outgoing)\n            return\n", ""),
    Mutant("an alarm never ends", _OUT, "            self.outbound.resume(self._block)\n", "            pass\n"),
    Mutant("not sent again after a loss", _OUT,
           "        for outgoing in self.unsettled:\n            self.put(self._arrive, outgoing)\n", ""),
    Mutant("not consumed again after a loss", _IN,
           "        for wish in self._wanted():\n            self.put(self._arrive_consume, wish)\n\n    def on_cut",
           "        pass\n\n    def on_cut"),
    Mutant("a restart loses what waits", _STORE, "        gone = {id(message) for message in lost}\n",
           "        gone = {id(message) for queue in self.queues.values() for message in queue}\n"),
    Mutant("withdrawn and settled", _TRANSPORT, "            del self._publishing.unsettled[outgoing]\n", ""),
    Mutant("withdrawn though settled", _TRANSPORT,
           "            if outgoing not in self._publishing.unsettled:\n                return False\n",
           "            if outgoing not in self._publishing.unsettled:\n                return True\n"),
    Mutant("takes after close", _TRANSPORT, '            if self._is_closed:\n                raise Closed(f"the transport was closed; message',
           '            if False:\n                raise Closed(f"the transport was closed; message'),
    Mutant("close waits for nothing", _TRANSPORT, "            self._pump.wait_until(self._is_finished, timeout_s)\n",
           "            pass\n"),
    Mutant("recovery is not told", _LINK, "state = ConnectionState.RECOVERING if was_up else self.status.state",
           "state = self.status.state"),
    Mutant("stale tags count", _IN, "channel.link is self and channel.wish.channel is channel and tag.number in channel.handed",
           "True"),
    # --- The file
    Mutant("file: newest first", _SQL, "AND owner_id IS NULL ORDER BY position LIMIT ?",
           "AND owner_id IS NULL ORDER BY position DESC LIMIT ?"),
    Mutant("file: in the order of the update", _SQL, "return sorted(map(Taken._make, rows), key=lambda taken: taken.position)",
           "return sorted(map(Taken._make, rows), key=lambda taken: -taken.position)"),
    Mutant("file: never marked as redelivered", _TURN, "is_redelivered=deliveries > 1", "is_redelivered=False"),
    Mutant("file: deliveries are not counted", _SQL, "SET owner_id = ?, deliveries = deliveries + 1", "SET owner_id = ?, deliveries = 1"),
    Mutant("file: prefetch one too many", _TURN, "room = consumer.prefetch - consumer.unacked + released",
           "room = consumer.prefetch - consumer.unacked + released + 1"),
    Mutant("file: an ack makes no room in its turn, nor later", _TURN,
           "            self._ledger.held.pop(position).unacked -= 1\n", "            self._ledger.held.pop(position)\n"),
    Mutant("file: an ack of what is another's", _TURN, "if self._ledger.tags.get(position) == delivery.tag:", "if position in self._ledger.held:"),
    Mutant("file: acked and kept", _TURN, "        self._file.remove(positions, self._ledger.owner_id)\n", ""),
    Mutant("file: given back and kept out", _TURN, "        positions = self._held(deliveries)\n        self._file.give_back(positions, self._ledger.owner_id)\n",
           "        positions = self._held(deliveries)\n"),
    Mutant("file: a missing queue confirmed", _SQL, "return cursor.rowcount > 0", "return True"),
    Mutant("file: confirmed and undone", _SQL, 'self._execute("COMMIT")', 'self._execute("ROLLBACK")'),
    Mutant("file: exclusive is not enforced", _SQL, "return None if row is None else str(row[0])", "return None"),
    Mutant("file: queues never expire", _SQL, "return [name for (name,) in rows]", "return []"),
    Mutant("file: queues expire under a consumer", _SQL,
           '"AND NOT EXISTS (SELECT 1 FROM consumer WHERE consumer.queue_id = queue.queue_id)"', '""'),
    Mutant("file: reject loses", _SQL, '            "SELECT (SELECT queue_id FROM queue WHERE name = ?), message_id, ?, body FROM message "\n            "WHERE position = ? AND owner_id = ?"',
           '            "SELECT (SELECT queue_id FROM queue WHERE name = ?), message_id, ?, body FROM message "\n            "WHERE position = -? AND owner_id = ?"'),
    Mutant("file: reject leaves the message", _SQL, "        self.remove([position], owner_id)\n", ""),
    Mutant("file: dead letter without its reason", _SQL, "(dead_queue, reason, position, owner_id)", '(dead_queue, "", position, owner_id)'),
    Mutant("file: close keeps what is unacked", _SQL,
           '        self._execute("DELETE FROM owner WHERE owner_id = ?", (owner_id,))\n', ""),
    Mutant("file: stop does not stop", "schedulergodx.transport.sqlite.transport",
           "at_once=lambda ledger: ledger.consumers.clear())", "at_once=lambda ledger: None)"),
    Mutant("file: withdrawn and written", _OUTBOX, "            if outgoing not in self._waiting:\n                return False\n            outgoing.was_sent", "            outgoing.was_sent"),
    Mutant("file: any arguments will do", _SQL, "            if self._differs(spec):", "            if False:"),
    Mutant("file: dead letters may differ", _SQL, "            if self._differs(spec):", "            if self._differs(spec) and spec is queue:"),
    Mutant("file: what stands in the way is not told", _TURN, "if declared is not None else None", "if False else None"),
    Mutant("file: an alarm is not told", _WORKER, "        state = ConnectionState.BLOCKED if self._has_been_up else ConnectionState.CONNECTING\n        self._set_state(state, f",
           "        state = self.status.state\n        self._set_state(state, f"),
    Mutant("file: a deleted queue goes unnoticed", _SQL, '        return self._is_true(\n            "SELECT EXISTS (SELECT 1 FROM consumer JOIN queue',
           '        return True or self._is_true(\n            "SELECT EXISTS (SELECT 1 FROM consumer JOIN queue'),
)  # fmt: skip

"""The soak: real clients and a real service over a real RabbitMQ, while everything is killed and broken at random.

`python -m tests.soak --minutes 10` (or `make soak MINUTES=10`); `--help` names the rest. At the end the ledger of what
the programs did and the database of the service are compared by SQL, see `tests.soak.ledger.FINDINGS`.
"""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schedulergodx import Client, SchedulerError
from schedulergodx.clock import SystemClock
from schedulergodx.service import health_file
from tests.soak import ledger as ledgers
from tests.soak import programs
from tests.soak.client import work
from tests.soak.evils import Evils, rest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from schedulergodx_testing.rabbitmq import RabbitMQ

QUEUE = "requests"
SETTLE_S = 120.0
"""For everything to end and be answered, once nothing is broken any more."""
clock = SystemClock()


@dataclass(kw_only=True)
class Report:
    """What a soak has shown. `complaints` are about the soak itself: a process that died, an end that did not come."""

    seed: int
    seconds: float = 0.0
    recovered_s: float | None = None
    numbers: dict[str, int] = field(default_factory=dict)
    findings: dict[str, list[str]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept."""
        return not self.findings and not self.complaints

    def text(self) -> str:
        """Return it for people."""
        width = max(map(len, self.numbers), default=0)
        lines = [f"seed {self.seed}, {self.seconds:.0f} s"]
        lines += [f"  {title.ljust(width)}  {number}" for title, number in self.numbers.items()]
        if self.recovered_s is not None:
            lines.append(f"the service was well again {self.recovered_s:.1f} s after the last act")
        lines += [f"BROKEN {title}: {len(ids)}, e.g. {', '.join(ids[:3])}" for title, ids in self.findings.items()]
        lines += [f"COMPLAINT {complaint}" for complaint in self.complaints]
        lines.append("every promise was kept" if self.is_good else "promises were broken")
        return "\n".join(lines)


class Soak:
    """One soak in a folder of its own. `broker` None: only processes are disturbed, over any URL."""

    def __init__(  # noqa: PLR0913 - the knobs
        self,
        folder: Path,
        *,
        url: str,
        seed: int,
        broker: RabbitMQ | None = None,
        clients: int = 2,
        rate: float = 20.0,
        rests_s: Sequence[float] = (0.0, 0.0, 0.0, 0.01, 0.1),
        pause_s: tuple[float, float] = (0.3, 3.0),
        defect: str = "",
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.folder, self.url, self.broker, self.say = folder, url, broker, say
        self.chance, self.pause_s = random.Random(seed), pause_s
        self.report = Report(seed=seed)
        self.path, self.database = folder / "ledger.db", folder / "tasks.db"
        ledgers.create(self.path)
        self.ledger = ledgers.Ledger(self.path)
        self.service = programs.service(folder, url, QUEUE, defect=defect)
        facts = {"url": url, "ledger": str(self.path), "request_queue": QUEUE, "rate": rate, "rests_s": rests_s}
        self.clients = [
            programs.client(folder, number, facts | {"seed": seed * 1000 + number}) for number in range(clients)
        ]
        self.evils = Evils(self.chance, self.service, self.clients, broker, url)

    def run(self, seconds: float, *, acts_min: int = 1) -> Report:
        """Disturb for so long, and at least so often; let everything settle, and compare."""
        began = clock.monotonic()
        everything = [self.service, *self.clients]
        try:
            for process in everything:
                process.start()
            self.wait_until_well()
            self._wait_for("a task to start", lambda: bool(self.ledger.ids("SELECT id FROM starts LIMIT 1")))
            acts = 0
            while acts < acts_min or clock.monotonic() - began < seconds:
                self._disturb()
                acts += 1
            self._settle()
        finally:
            for process in everything:
                process.kill()
            self.ledger.close()
        self.report.seconds = clock.monotonic() - began
        self.report.numbers = ledgers.numbers(self.path, self.database)
        self.report.findings = ledgers.findings(self.path, self.database)
        return self.report

    def _disturb(self) -> None:
        rest(self.chance.uniform(*self.pause_s))
        for process in (self.service, *self.clients):
            if not process.is_running:
                self._complain(f"{process.name} ended by itself with {process.exit_code}: {process.tail()}")
                process.start()
        at = clock.now().timestamp()
        what, detail = self.evils.one()
        self.ledger.write("acts", at, what, detail)
        self.say(f"{what}{detail and f': {detail}'}")

    def _settle(self) -> None:
        if self.broker is not None:
            self.broker.heal()
        for process in self.clients:
            if (code := process.stop()) != 0:
                self._complain(f"{process.name} ended with {code}: {process.tail()}")
        began = clock.monotonic()
        if self.wait_until_well():
            self.report.recovered_s = clock.monotonic() - began
        ids = self.ledger.attempts("asker")
        with Client("asker", url=self.url, request_queue=QUEUE, id_generator=ids, task_lifetime=SETTLE_S) as client:
            self._launch_last(client)
            self._ask(client)
        if (code := self.service.stop()) != 0:
            self._complain(f"the service ended with {code}: {self.service.tail()}")

    def wait_until_well(self) -> bool:
        """Wait until the service itself says that it is well."""
        path = health_file.health_path(self.database)

        def is_well() -> bool:
            with suppress(ValueError):
                health = health_file.read(path)
                return health is not None and health.is_healthy
            return False

        return self._wait_for("the service to be well", is_well)

    def _wait_for(self, what: str, is_there: Callable[[], bool]) -> bool:
        deadline = clock.monotonic() + SETTLE_S
        while clock.monotonic() < deadline:
            if is_there():
                return True
            rest(0.2)
        self._complain(f"waited {SETTLE_S:g} s for {what}; the service wrote: {self.service.tail()}")
        return False

    def _launch_last(self, client: Client) -> None:
        """Launch a task behind all others and hear its end: what was in the queue before it is stored then."""
        try:
            last = client.task(work).launch(str(self.path), 0, 0.0, False)
            self.ledger.launched(last, "confirmed")
            self.ledger.write("answers", last, "OK", json.dumps(last.result(SETTLE_S)), "told")
        except SchedulerError as error:
            self._complain(f"the last task: {type(error).__name__}: {error}; the service wrote: {self.service.tail()}")

    def _ask(self, client: Client) -> None:
        """Ask by id, as any client may, for every outcome that nobody was told."""
        open_ids = ledgers.untold(self.path, self.database)
        deadline = clock.monotonic() + SETTLE_S
        while open_ids and clock.monotonic() < deadline:
            for message_id in sorted(open_ids):
                outcome = client.outcome(message_id)
                if outcome is not None:
                    self.ledger.write("answers", message_id, outcome.code.value, outcome.report.result, "asked")
                    open_ids.discard(message_id)
            rest(0.2)
        if open_ids:
            self._complain(f"no word about {len(open_ids)} tasks within {SETTLE_S:g} s, e.g. {min(open_ids)}")

    def _complain(self, what: str) -> None:
        self.report.complaints.append(what)
        self.say(f"COMPLAINT {what}")

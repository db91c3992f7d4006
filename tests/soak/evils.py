"""What a soak does to its processes and its broker, one thing at a time, chosen by a seed."""

from __future__ import annotations

import signal
import subprocess
from queue import SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from schedulergodx.clock import SystemClock
from schedulergodx_testing.rabbitmq import RabbitMQCommandFailed

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from schedulergodx_testing.rabbitmq import RabbitMQ
    from tests.soak.programs import Process

clock = SystemClock()
_never: SimpleQueue[None] = SimpleQueue()


def rest(seconds: float) -> None:
    """Let the programs work."""
    end = clock.monotonic() + seconds
    while (left := end - clock.monotonic()) > 0:
        clock.wait_for(_never, left)


class Evils:
    """The acts. Each returns a detail for the ledger, and leaves everything running that it has ended."""

    def __init__(
        self, chance: random.Random, service: Process, clients: list[Process], broker: RabbitMQ | None, url: str
    ) -> None:
        self.chance, self.service, self.clients, self.broker = chance, service, clients, broker
        self._vhost = unquote(urlsplit(url).path[1:]) or "/"

    def choices(self) -> dict[str, tuple[int, Callable[[], str]]]:
        """Return each act by its name, with its weight."""
        acts = {
            "service killed": (6, self.kill_service),
            "service stopped in order": (2, self.stop_service),
            "service frozen": (1, self.freeze_service),
            "client killed": (4, self.kill_client),
            "client stopped in order": (1, self.stop_client),
        }
        if self.broker is not None:
            acts |= {
                "connections closed by the broker": (4, self.close_connections),
                "broker killed": (2, self.kill_broker),
                "broker restarted": (1, self.restart_broker),
                "broker frozen": (1, self.freeze_broker),
                "memory alarm": (2, self.alarm),
                "queue of answers deleted": (3, self.delete_replies),
                "queue of requests deleted, while empty": (2, self.delete_requests),
            }
        return acts

    def one(self) -> tuple[str, str]:
        """Do one act, chosen by its weight; return its name and its detail.

        A command to the broker that takes too long, on a machine that is too busy, is an act that was not done.
        """
        acts = self.choices()
        (name,) = self.chance.choices(list(acts), [weight for weight, _ in acts.values()])
        try:
            return name, acts[name][1]()
        except (subprocess.TimeoutExpired, TimeoutError) as error:
            return f"not done: {name}", str(error)

    # --- processes

    def kill_service(self) -> str:
        self.service.kill()
        return self._start_again(self.service)

    def stop_service(self) -> str:
        code = self.service.stop()
        return f"exit code {code}, {self._start_again(self.service)}"

    def freeze_service(self) -> str:
        return self._frozen(lambda: self.service.send(signal.SIGSTOP), lambda: self.service.send(signal.SIGCONT))

    def kill_client(self) -> str:
        client = self.chance.choice(self.clients)
        client.kill()
        client.start()
        return client.name

    def stop_client(self) -> str:
        client = self.chance.choice(self.clients)
        code = client.stop()
        client.start()
        return f"{client.name}, exit code {code}"

    def _start_again(self, process: Process) -> str:
        away_s = self.chance.choice([0.0, 0.0, 0.5, 2.0])
        rest(away_s)
        process.start()
        return f"away for {away_s:g} s"

    def _frozen(self, freeze: Callable[[], None], thaw: Callable[[], None]) -> str:
        seconds = round(self.chance.uniform(0.5, 4.0), 1)
        freeze()
        rest(seconds)
        thaw()
        return f"for {seconds:g} s"

    # --- the broker

    @property
    def _rabbit(self) -> RabbitMQ:
        assert self.broker is not None
        return self.broker

    def close_connections(self) -> str:
        self._rabbit.close_connections()
        return ""

    def kill_broker(self) -> str:
        # RabbitMQ 3.10 can forget a durable queue that was declared in the last moment, with what was confirmed in it.
        self._rabbit.flush()
        self._rabbit.kill()
        self._rabbit.start()
        return ""

    def restart_broker(self) -> str:
        self._rabbit.restart()
        return ""

    def freeze_broker(self) -> str:
        return self._frozen(self._rabbit.pause, self._rabbit.unpause)

    def alarm(self) -> str:
        seconds = round(self.chance.uniform(0.5, 5.0), 1)
        self._rabbit.memory_alarm(True)
        rest(seconds)
        self._rabbit.memory_alarm(False)
        return f"for {seconds:g} s"

    def delete_replies(self) -> str:
        names = [name for name in self._rabbit.queues(self._vhost) if name.startswith("service-client.")]
        return self._delete(self.chance.choice(names)) if names else "there is none"

    def delete_requests(self) -> str:
        """Delete the queue under its consumer, while nothing is in it or on its way to it.

        What is in a queue goes with it, by design; and RabbitMQ confirms what comes while a queue is being deleted, and
        never delivers it (seen on 3.10.8, once for each deletion under load, with plain pika as well).
        """
        for client in self.clients:
            client.send(signal.SIGSTOP)
        try:
            for _ in range(20):
                rest(0.5)
                if self._rabbit.queues(self._vhost).get("requests") == (0, 0):
                    return self._delete("requests", "--if-empty")
        finally:
            for client in self.clients:
                client.send(signal.SIGCONT)
        return "it is not empty"

    def _delete(self, name: str, *options: str) -> str:
        try:
            self._rabbit.ctl("--vhost", self._vhost, "delete_queue", name, *options)
        except RabbitMQCommandFailed as error:
            return f"refused: {error.output.strip().splitlines()[-1]}"
        return name

"""The command: start a service, launch, watch, sum up, and leave nothing behind."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from schedulergodx import transport as transports
from schedulergodx.cli.demo import summary
from schedulergodx.cli.demo.process import ServiceProcess
from schedulergodx.cli.demo.queues import remove_queues
from schedulergodx.cli.demo.run import DemoFailed, Run
from schedulergodx.cli.exits import DEMO_EXITS, EXIT_FAILED
from schedulergodx.cli.settings import broker_url
from schedulergodx.cli.terminal import Terminal
from schedulergodx.cli.texts import add_command, exits_text, printable
from schedulergodx.client.core import Client
from schedulergodx.clock import SystemClock
from schedulergodx.errors import BrokerRefused, BrokerUnavailable
from schedulergodx.utils.keys.ring import KeyRing, new_key

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

LAUNCH_TIMEOUT_S = 6.0
"""For the broker to be reached."""
_REPLY_EXPIRES_S = 60.0
"""For queues of answers that nobody could delete."""
_EXAMPLES = """\
  schedulergodx demo
  schedulergodx demo --url amqp://guest:guest@127.0.0.1:5672/"""
_SIGNALS = """\
  Ctrl-C, SIGTERM, SIGHUP   stop the service, too, and leave nothing behind"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "demo",
        "start a service, launch real work, watch it, and check every outcome",
        {"signals": _SIGNALS, "exit codes": exits_text(DEMO_EXITS), "examples": _EXAMPLES},
    )
    parser.add_argument(
        "--url",
        type=broker_url,
        metavar="URL",
        help="the broker: amqp://…, amqps://… or sqlite:///… [default: a queue file in a temporary folder]",
    )
    parser.set_defaults(run=run, settings=(), parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and return 0 if every task ended as expected, else `EXIT_FAILED`.

    Raises:
        BrokerError: the broker was not reached, or it refused.
        KeyboardInterrupt: stopped by Ctrl-C or another signal; nothing is left behind.
    """
    # What the client logs is in the error, too, where it matters; without a handler Python would print it as well.
    logging.getLogger("schedulergodx").addHandler(logging.NullHandler())
    began = SystemClock().monotonic()
    with (
        _signals_as_interrupt(),
        Terminal() as terminal,
        tempfile.TemporaryDirectory(prefix="schedulergodx-demo-") as folder,
        _own_queues(arguments.url, Path(folder)) as queues,
    ):
        terminal.print(f"Over {transports.address(queues.url)}")
        service = ServiceProcess(url=queues.url, request_queue=queues.requests, keys=queues.keys, folder=Path(folder))
        try:
            with service, _client(queues) as client:
                queues.used.append(client.rmq_consumer_que)
                courses = asyncio.run(Run(client, service, terminal).through())
        except KeyboardInterrupt:
            terminal.print("Stopped, and the service with it.")
            raise
        except DemoFailed as error:
            terminal.print(terminal.paint(str(error), "red"), *map(printable, service.log_tail()))
            return EXIT_FAILED
        took_s = SystemClock().monotonic() - began
        return summary.conclude(terminal, courses, service_exit=service.exit_code, took_s=took_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Queues:
    """Where this run's messages go: the broker, names that no other run has, and all queues that were made of them.

    And what they are signed with.
    """

    url: str
    requests: str
    replies: str
    used: list[str]
    keys: KeyRing


@contextmanager
def _own_queues(url: str | None, folder: Path) -> Iterator[_Queues]:
    """Give the queues of this run, and delete them at the end from a broker that outlives it."""
    name = f"schedulergodx-demo-{secrets.token_hex(4)}"
    queues = _Queues(
        url=url or f"sqlite:///{quote(str(folder / 'queues.db'))}",
        requests=f"{name}-requests",
        replies=f"{name}-replies",
        used=[f"{name}-requests{end}" for end in ("", ".dead", ".owner.name")],
        keys=KeyRing([new_key()]),
    )
    is_there = url is not None
    try:
        yield queues
    except (BrokerRefused, BrokerUnavailable):
        is_there = False
        raise
    finally:
        if is_there:
            remove_queues(queues.url, queues.used, probe=f"{name}-probe")


def _client(queues: _Queues) -> Client:
    return Client(
        "demo",
        url=queues.url,
        request_queue=queues.requests,
        reply_queue=queues.replies,
        keys=queues.keys,
        launch_timeout_s=LAUNCH_TIMEOUT_S,
        reply_expires_s=_REPLY_EXPIRES_S,
    )


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """Make the signals that would end this program at once interrupt it as Ctrl-C does, so that it tidies up."""

    def interrupt(_number: int, _frame: object) -> None:
        signal.raise_signal(signal.SIGINT)

    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Options that may also come from the environment: one table for the parser, the help and the checks."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from schedulergodx import config
from schedulergodx import transport as transports
from schedulergodx.config import ServiceLimits
from schedulergodx.errors import InvalidParameter
from schedulergodx.utils.storage.files import database_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
WORDS_OF_TRUTH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
AT_A_TIME_MAX = 65535
"""Threads and processes at a time; the bound of `ServiceLimits`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One option that the environment may give as well; the option wins.

    Attributes:
        flag: the option, e.g. `--request-queue`.
        variable: the environment variable.
        metavar: stands for the value in the help; "" for a switch that takes none.
        parse: makes the value of a text, or refuses it by `argparse.ArgumentTypeError`.
        default: the value when neither gives one.
        help: what it is, for the help; the variable and the default are added.
        default_text: how the help names the default; "" takes the value itself.
    """

    flag: str
    variable: str
    metavar: str = ""
    parse: Callable[[str], Any]
    default: Any = None
    help: str
    default_text: str = ""

    @property
    def name(self) -> str:
        """The attribute of the parsed arguments."""
        return self.flag.removeprefix("--").replace("-", "_")

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Give `parser` this option. Not given is None, so that the environment can tell."""
        text = f"{self.help} [{self.variable}; default: {self.default_text or self.default}]".replace("%", "%%")
        if self.metavar:
            parser.add_argument(self.flag, metavar=self.metavar, type=self.parse, help=text)
        else:
            parser.add_argument(self.flag, action=argparse.BooleanOptionalAction, default=None, help=text)

    def from_environment(self, environment: Mapping[str, str]) -> Any:
        """Return the value in the environment, else the default. An empty variable counts as none.

        Raises:
            argparse.ArgumentTypeError: the variable has a wrong value; the text names it.
        """
        text = environment.get(self.variable)
        if not text:
            return self.default
        try:
            return self.parse(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"environment variable {self.variable}: {error}") from error


def fill(
    arguments: argparse.Namespace, settings: Sequence[Setting], environment: Mapping[str, str] = os.environ
) -> None:
    """Complete `arguments` from the environment and the defaults. Raises argparse.ArgumentTypeError."""
    for setting in settings:
        if getattr(arguments, setting.name) is None:
            setattr(arguments, setting.name, setting.from_environment(environment))


def _checked(check: Callable[[str], object], text: str) -> str:
    """Return `text` if `check` does not raise InvalidParameter; its sentence never shows a password."""
    try:
        check(text)
    except InvalidParameter as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def whole_number(text: str, *, least: int, most: int) -> int:
    """Return `text` as a whole number. Raises argparse.ArgumentTypeError with the bounds."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"a whole number from {least} to {most} is needed, got {text[:40]!r}")
    return number


def seconds(text: str) -> float:
    """Return `text` as seconds from 0. Raises argparse.ArgumentTypeError."""
    try:
        return config.seconds("it", float(text))
    except (ValueError, InvalidParameter):
        raise argparse.ArgumentTypeError(
            f"a number of seconds from 0 to {config.SECONDS_MAX:g} is needed, got {text[:40]!r}"
        ) from None


def switch(text: str) -> bool:
    """Return what a variable says of a switch. Raises argparse.ArgumentTypeError."""
    try:
        return WORDS_OF_TRUTH[text.strip().lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"one of {', '.join(WORDS_OF_TRUTH)} is needed, got {text[:40]!r}") from None


def log_level(text: str) -> int:
    """Return the number of a level of `logging`. Raises argparse.ArgumentTypeError."""
    if text.lower() not in LOG_LEVELS:
        raise argparse.ArgumentTypeError(f"one of {', '.join(LOG_LEVELS)} is needed, got {text[:40]!r}")
    return logging.getLevelNamesMapping()[text.upper()]


def broker_address(url: str) -> str:
    """Return where `url` leads, without a password. Raises InvalidParameter, also for what no other process reaches."""
    if url.startswith(f"{transports.MEMORY_SCHEME}:"):
        raise InvalidParameter("memory:// is for tests within one process; a command needs a broker that others reach")
    return transports.address(url)


broker_url = partial(_checked, broker_address)
"""Argument type: the URL of a broker, as it was given."""
database = partial(_checked, database_path)
"""Argument type: the path or URL of a database, as it was given."""
name = partial(_checked, partial(config.printable_name, "the name"))
"""Argument type: a name."""
queue = partial(_checked, partial(config.queue_name, "the name of the queue"))
"""Argument type: the name of a queue."""
queue_type = partial(_checked, partial(config.is_quorum, "the type of the queue"))
"""Argument type: `classic` or `quorum`."""

_LIMITS = ServiceLimits()

DB = Setting(
    flag="--db",
    variable="SCHEDULERGODX_DB",
    metavar="PATH",
    parse=database,
    default="SchedulerGodX.db",
    help="the service's database, a path or sqlite:///path",
)
SERVICE_SETTINGS = (
    Setting(
        flag="--url",
        variable=transports.URL_VARIABLE,
        metavar="URL",
        parse=broker_url,
        help="the broker: amqp://…, amqps://… or sqlite:///…; one with a password belongs into the variable, since "
        "everybody on the machine can read command lines",
        default_text="RabbitMQ on localhost",
    ),
    DB,
    Setting(
        flag="--threads",
        variable="SCHEDULERGODX_THREADS",
        metavar="N",
        parse=partial(whole_number, least=1, most=AT_A_TIME_MAX),
        default=_LIMITS.threads,
        help="soft tasks at a time",
    ),
    Setting(
        flag="--processes",
        variable="SCHEDULERGODX_PROCESSES",
        metavar="N",
        parse=partial(whole_number, least=1, most=AT_A_TIME_MAX),
        default=_LIMITS.processes,
        help="hard tasks at a time",
    ),
    Setting(
        flag="--name",
        variable="SCHEDULERGODX_NAME",
        metavar="NAME",
        parse=name,
        default="service",
        help="the service's name, in logs and for whoever finds its database in use",
    ),
    Setting(
        flag="--request-queue",
        variable="SCHEDULERGODX_REQUEST_QUEUE",
        metavar="NAME",
        parse=queue,
        default="client-service",
        help="the queue that tasks come from",
    ),
    Setting(
        flag="--queue-type",
        variable="SCHEDULERGODX_QUEUE_TYPE",
        metavar="TYPE",
        parse=queue_type,
        default="classic",
        help="classic, or quorum for a queue that survives the loss of a node of a RabbitMQ cluster; the clients must "
        "say the same",
    ),
    Setting(
        flag="--allow-unsigned",
        variable="SCHEDULERGODX_ALLOW_UNSIGNED",
        parse=switch,
        default=False,
        default_text="no",
        help="start without keys although other machines reach the broker, and take unsigned messages although there "
        "are keys: whoever reaches the broker runs code here",
    ),
    Setting(
        flag="--stop-grace",
        variable="SCHEDULERGODX_STOP_GRACE",
        metavar="SECONDS",
        parse=seconds,
        default=_LIMITS.stop_grace_s,
        default_text=f"{_LIMITS.stop_grace_s:g}",
        help="how long running tasks may go on once the service is asked to stop",
    ),
    Setting(
        flag="--log-level",
        variable="SCHEDULERGODX_LOG_LEVEL",
        metavar="LEVEL",
        parse=log_level,
        default=logging.INFO,
        default_text="info",
        help=f"the least that is logged, to stderr: {', '.join(LOG_LEVELS)}",
    ),
    Setting(
        flag="--standby",
        variable="SCHEDULERGODX_STANDBY",
        parse=switch,
        default=False,
        default_text="no",
        help="wait while another service takes from the queue or holds the database, instead of refusing to start; "
        "take over within seconds when that one ends",
    ),
)

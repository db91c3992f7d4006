"""`python -m tests.soak`: a soak from the command line."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from schedulergodx_testing.rabbitmq import find_rabbitmq
from tests.soak.run import Soak


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 - a program


def main() -> int:
    """Run one, and return 0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="chooses the acts; their moments are the machine's")
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--rate", type=float, default=20.0, help="launches a second of each client")
    parser.add_argument("--folder", type=Path, default=None, help="keeps logs, ledger and database; must be empty")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    folder = options.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    say(f"seed {seed}, folder {folder}")
    with find_rabbitmq() as rabbitmq, rabbitmq.private_vhost() as url:
        broker = rabbitmq if rabbitmq.is_controllable else None
        say(f"RabbitMQ {rabbitmq.version}")
        soak = Soak(
            folder,
            url=url,
            seed=seed,
            broker=broker,
            clients=options.clients,
            rate=options.rate,
            say=say,
        )
        report = soak.run(60 * options.minutes)
    say(report.text())
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())

"""`schedulergodx keys`: make, renew, list and hand out the keys that messages are signed with."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from schedulergodx.cli.exits import EXIT_OK, KEYS_EXITS
from schedulergodx.cli.settings import name
from schedulergodx.cli.texts import Column, add_command, exits_text, moment_text, table, write
from schedulergodx.clock import SystemClock
from schedulergodx.utils.keys.files import read_key_file, replace_key_file, write_key_file
from schedulergodx.utils.keys.ring import Key, KeyRing, new_key

_COLUMNS = (Column(title="id"), Column(title="state"), Column(title="from"), Column(title="until"), Column(title="for"))
_EXAMPLES = """\
  schedulergodx keys new /etc/schedulergodx.keys
  schedulergodx keys add /etc/schedulergodx.keys --not-before 2026-12-01T00:00:00Z
  schedulergodx keys client /etc/schedulergodx.keys shop shop.keys
  SCHEDULERGODX_KEY_FILE=/etc/schedulergodx.keys schedulergodx service"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and what stands behind it."""
    parser = add_command(
        commands,
        "keys",
        "make, renew, list and hand out the keys that messages are signed with",
        {"exit codes": exits_text(KEYS_EXITS), "examples": _EXAMPLES},
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    new = _action(actions, "new", "make a key file with one new key; it must not exist yet", partial(_run, _new))
    add = _action(actions, "add", "put a new key before those of a key file; all of them verify", partial(_run, _add))
    for one in (new, add):
        one.add_argument(
            "--not-before",
            type=_moment,
            metavar="MOMENT",
            help="when it begins to sign, so that everybody has it by then, e.g. 2026-12-01T00:00:00Z [default: now]",
        )
    _action(actions, "list", "show the ids and times of the keys, never the keys", partial(_run, _list))
    client = _action(
        actions, "client", "make the key file of one client, who can then sign as no other", partial(_run, _client)
    )
    client.add_argument("client", type=name, metavar="NAME", help="name of the client")
    client.add_argument("output", type=Path, metavar="OUTPUT", help="the file to make")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], title: str, text: str, run: partial[int]
) -> argparse.ArgumentParser:
    parser = actions.add_parser(title, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
    parser.add_argument("file", type=Path, metavar="FILE", help="the key file")
    parser.set_defaults(run=run, settings=(), parser=parser)
    return parser


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"a moment with an offset is needed, e.g. 2026-12-01T00:00:00Z, got {text[:40]!r}")


def _run(action: object, arguments: argparse.Namespace) -> int:
    """Do one action. Raises KeysRefused, also when nothing could be written."""
    action(arguments)  # type: ignore[operator]  # one of those below
    return EXIT_OK


def _new(arguments: argparse.Namespace) -> None:
    key = new_key(not_before=arguments.not_before)
    write_key_file(arguments.file, KeyRing([key]))
    write(
        f"{arguments.file}: key {key.key_id}. Copy the file to the service and its clients, over a way that nobody "
        "else can read, and name it by SCHEDULERGODX_KEY_FILE."
    )


def _add(arguments: argparse.Namespace) -> None:
    key = new_key(not_before=arguments.not_before)
    replace_key_file(arguments.file, read_key_file(arguments.file).with_new(key))
    when = "at once" if key.not_before is None else f"from {key.not_before:%Y-%m-%d %H:%M:%S} UTC"
    write(
        f"{arguments.file}: key {key.key_id}, which signs {when}. Copy the file to the service first (SIGHUP has it "
        "read again), then to its clients."
    )


def _list(arguments: argparse.Namespace) -> None:
    now = SystemClock().now()
    ring = read_key_file(arguments.file)
    signing = next((key for key in ring.keys if key.is_signing(now)), None)
    rows = [
        [
            key.key_id,
            "signs" if key is signing else _state(key, now),
            moment_text(key.not_before, now=now),
            moment_text(key.not_after, now=now),
            key.client or "all",
        ]
        for key in ring.keys
    ]
    write(*table(_COLUMNS, rows, width=None)[0])


def _state(key: Key, now: datetime) -> str:
    return "retired" if key.is_retired(now) else "verifies"


def _client(arguments: argparse.Namespace) -> None:
    write_key_file(arguments.output, read_key_file(arguments.file).for_client(arguments.client))
    write(f"{arguments.output}: for client {arguments.client!r} alone. It can sign as no other client.")

"""Whether a test does the same once more: in another process, under another hash seed, compared byte by byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from schedulergodx_testing.harness import Harness

OPTION = "--scheduler-recheck"
VARIABLE = "SCHEDULERGODX_TIMELINE_FILE"
"""Where a test's timeline is written to, as JSON, at the end of the fixture `scheduler`."""
_TIMEOUT_S = 120.0
_OUTPUT_CHARACTERS_MAX = 2000


def write_if_asked(harness: Harness) -> None:
    """Write the timeline to the file that the environment names."""
    if path := os.environ.get(VARIABLE):
        Path(path).write_text(harness.timeline.to_json(), encoding="utf-8")


def difference(item: pytest.Item, harness: Harness) -> str:
    """Run a test again, and return what it did otherwise; "" when it did the same."""
    with tempfile.TemporaryDirectory(prefix="schedulergodx-") as folder:
        path = Path(folder) / "timeline.json"
        try:
            ended = _repeat(item, path)
        except subprocess.TimeoutExpired:
            return f"it passed, and did not end within {_TIMEOUT_S:g} s when it was repeated"
        if ended.returncode != 0 or not path.exists():
            said = ended.stdout[-_OUTPUT_CHARACTERS_MAX:]
            return f"it passed, and failed when it was repeated (exit code {ended.returncode}):\n{said}"
        found = compare(harness.timeline.to_json(), path.read_text(encoding="utf-8"))
    return f"{found}\n{_suspects(harness)}" if found else ""


def _repeat(item: pytest.Item, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - this test again, by this Python
        _command(item),
        cwd=item.config.rootpath,
        env=_environment(path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=_TIMEOUT_S,
        check=False,
    )


def compare(first: str, second: str) -> str:
    """Return where two timelines, as JSON, begin to differ; "" when they are the same."""
    if first == second:
        return ""
    one, other = json.loads(first), json.loads(second)
    place = next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return "\n".join(
        [
            f"the {place + 1}. thing that happened was another one when the test was repeated:",
            f"  at first: {_shown(one, place)}",
            f"  repeated: {_shown(other, place)}",
        ]
    )


def _suspects(harness: Harness) -> str:
    if leaks := harness.world.leaks:
        return "It took from the real world:\n" + "\n".join(f"  {leak}" for leak in leaks)
    return (
        "It depends on something other than its seed, and not on what is watched for: perhaps on the order of a set, "
        "on id() or hash(), or on a clock that was taken before the harness opened."
    )


def _shown(entries: list[dict[str, object]], place: int) -> str:
    if place >= len(entries):
        return "nothing more"
    entry = entries[place]
    return f"{entry['at']} {entry['lane']} {entry['what']} {entry['message_id']}".rstrip()


def _command(item: pytest.Item) -> list[str]:
    config = item.config
    plugins = [word for name in config.getoption("plugins", []) or [] for word in ("-p", name)]
    if config.pluginmanager.hasplugin("xdist"):
        plugins += ["-n", "0"]
    ini = [] if config.inipath is None else ["-c", str(config.inipath)]
    options = [*plugins, *ini, "--rootdir", str(config.rootpath), "-p", "no:cacheprovider", f"{OPTION}=0"]
    return [sys.executable, "-m", "pytest", *options, item.nodeid]


def _environment(path: Path) -> dict[str, str]:
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    return os.environ | {VARIABLE: str(path), "PYTHONHASHSEED": seed}

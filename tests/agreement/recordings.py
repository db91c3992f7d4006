"""Recordings of a real RabbitMQ: steps, and what was seen of each, kept with its version and replayed in memory.

python -m tests.agreement.recordings record --out tests/recordings              # a node of this machine
python -m tests.agreement.recordings record --out tests/recordings --image IMAGE  # in a container
python -m tests.agreement.recordings record --out tests/recordings --url amqp://… # without restarts and alarms
python -m tests.agreement.recordings score
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from schedulergodx_testing.rabbitmq import GivenRabbitMQ, LocalRabbitMQ, SchedulerRabbitMQ
from tests.agreement.agreement import profile_of
from tests.agreement.fake import Follower
from tests.agreement.real import RealSide, impatient
from tests.agreement.scenarios import at_random, by_hand, needs_control
from tests.agreement.scene import Scene

if TYPE_CHECKING:
    from schedulergodx_testing.rabbitmq import RabbitMQ
    from tests.agreement.scene import Observation, Step

FOLDER = Path(__file__).parents[1] / "recordings"


@dataclass(frozen=True, slots=True)
class Recording:
    """One trace: what was done to a RabbitMQ of that version, and what was seen after each step."""

    version: str
    name: str
    trace: list[tuple[Step, Observation]]

    @property
    def path(self) -> str:
        """Where it is kept, below the folder of recordings."""
        return f"{self.version}/{self.name.replace(' ', '-').replace(',', '')}.json"

    def write(self, folder: Path) -> None:
        """Keep it, a line for each step."""
        path = folder / self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(json.dumps(entry, sort_keys=True) for entry in self.trace)
        head = f'"version": {json.dumps(self.version)}, "name": {json.dumps(self.name)}'
        path.write_text(f'{{{head}, "trace": [\n{lines}\n]}}\n', "utf-8")


def read(path: Path) -> Recording:
    """Return the recording in a file."""
    kept = json.loads(path.read_text("utf-8"))
    return Recording(kept["version"], kept["name"], [(step, seen) for step, seen in kept["trace"]])


def difference(recording: Recording) -> str:
    """Replay a recording in memory. Return where no run of that broker shows the same, or ""."""
    follower = Follower(profile_of(recording.version))
    for place, (step, seen) in enumerate(recording.trace):
        if (instead := follower.follow(step, seen)) is not None:
            return (
                f"{recording.path}, step {place + 1}, {json.dumps(step)}\n"
                f"RabbitMQ {recording.version}: {json.dumps(seen)}\nin memory: {json.dumps(instead)}"
            )
    return ""


def record(rabbitmq: RabbitMQ, folder: Path, only: str = "") -> int:
    """Record everything that this broker allows, or `only` one; return how many traces that was."""
    count = 0
    with rabbitmq, rabbitmq.private_vhost() as url, impatient():
        side, version = RealSide(rabbitmq, url), rabbitmq.version
        for number, (name, steps) in enumerate(chain(by_hand(), at_random())):
            if only not in ("", name) or (needs_control(steps) and not rabbitmq.is_controllable):
                continue
            scene = Scene(side, f"recording{number}")
            trace = [(step, scene.do(step)) for step in steps]
            scene.close()
            Recording(version, name, trace).write(folder)
            count += 1
        side.close()
    return count


def score(folder: Path = FOLDER) -> dict[str, tuple[int, int]]:
    """Return for each version how many of its traces the broker in memory passes, and how many there are."""
    scores = {}
    for versions in sorted(folder.iterdir()):
        recordings = [read(path) for path in sorted(versions.glob("*.json"))]
        scores[versions.name] = (sum(not difference(one) for one in recordings), len(recordings))
    return scores


def main() -> None:
    """Record, or print the score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "score"])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--url")
    parser.add_argument("--image")
    parser.add_argument("--only", default="", help="the name of one scene")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if options.what == "record":
        if options.url:
            rabbitmq: RabbitMQ = GivenRabbitMQ(options.url)
        else:
            rabbitmq = SchedulerRabbitMQ(options.image) if options.image else LocalRabbitMQ()
        print(f"{record(rabbitmq, options.out, options.only)} traces recorded")  # noqa: T201 - what a command is for
    for version, (passed, total) in score(options.out).items():
        print(f"{version}: {passed} of {total} pass in memory")  # noqa: T201 - what a command is for


if __name__ == "__main__":
    main()

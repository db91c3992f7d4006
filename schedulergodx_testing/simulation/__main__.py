"""`python -m schedulergodx_testing.simulation`: random stories, and whether every promise holds in them."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from dataclasses import asdict

from schedulergodx_testing.simulation.many import play_in_processes, play_seeds, timed
from schedulergodx_testing.simulation.playing import play
from schedulergodx_testing.simulation.stories import story_of


def main(arguments: list[str] | None = None) -> int:
    """Play what the command line asks for. Returns 0 when every promise held, 1 when one was broken."""
    given = _parser().parse_args(arguments)
    if given.seed is not None:
        return _play_one(given.seed, given.only)
    if given.part_of:
        seeds = range(given.first, given.first + given.seeds * given.part_of, given.part_of)
        _say(json.dumps(asdict(play_seeds(seeds, _say))))
        return 0
    total, took_s = timed(lambda: play_in_processes(given.first, given.seeds, given.jobs, _say))
    _say(f"From seed {given.first}: {total}; {took_s:,.0f} s in {given.jobs} processes")
    return 1 if total.broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m schedulergodx_testing.simulation",
        description="Play random stories: programs launch and serve, and things go wrong; every promise must hold.",
    )
    parser.add_argument("--seeds", type=_count, default=2000, metavar="N", help="how many stories (2000)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first seed (0)")
    parser.add_argument("--jobs", type=_count, default=os.cpu_count() or 1, metavar="N", help="processes (one a core)")
    parser.add_argument("--seed", type=int, metavar="N", help="play this story alone, and tell it")
    parser.add_argument("--only", type=_numbers, metavar="1,2,5", help="of its steps, only these")
    parser.add_argument("--part-of", type=int, default=0, help=argparse.SUPPRESS)  # one process of several
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"it must be at least 1, got {number}")
    return number


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _play_one(seed: int, only: list[int] | None) -> int:
    logging.disable(logging.CRITICAL)
    story = story_of(seed)
    played = play(story if only is None else story.only(only), is_telling=True)
    _say(played.told)
    return 1 if played.found else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""The process of a hard task ends by the short way only where nobody could see the difference."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import atexit, ctypes, gc, sys, tempfile, threading
from schedulergodx.service.runner.ending import Beginnings
{before}
gc.collect()
gc.freeze()
beginnings = Beginnings()
{task}
beginnings.end()
sys.stdout.write("by the long way\\n")
"""
LONG = "by the long way\n"
_WITH_AN_END = """
class Left:
    {slots}
    def __del__(self):
        print("deleted")
kept = Left()
"""
_GENERATOR = """
def generator():
    try:
        yield
    finally:
        print("ended")
kept = generator()
next(kept)
"""
_IN_A_MODULE = "sys.modules['own'] = type(sys)('own'); sys.modules['own'].kept = kept; del kept"


def said_by(task: str, before: str = "") -> str:
    """Return what a program prints that ends as a worker does after `task`."""
    program = _PROGRAM.format(before=before, task=task)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30, text=True)
    return done.stdout


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("", ""),
        ("import colorsys", ""),
        ("sys.stdout.write('printed')", "printed"),
        ("libc.puts(b'by C')", "by C\n"),
        ("atexit.register(print, 'at exit')", "at exit\n"),
        ("threading.Timer(0.01, print, ('by a thread',)).start()", "by a thread\n"),
        ("kept = []; kept.append(open('/dev/null')); kept.append(kept); del kept", ""),
        (_WITH_AN_END.format(slots="") + "kept.kept = kept; del kept, Left", "deleted\n"),
    ],
)
def test_what_ends_the_short_way(task: str, said: str) -> None:
    """Streams are flushed, threads waited for, `atexit` and the ends of garbage called: then nothing is left to do."""
    assert said_by(task, "libc = ctypes.CDLL(None); libc.puts") == said


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (_WITH_AN_END.format(slots="") + _IN_A_MODULE, LONG + "deleted\n"),
        (_WITH_AN_END.format(slots="__slots__ = ()") + _IN_A_MODULE, LONG + "deleted\n"),
        (_GENERATOR + _IN_A_MODULE, LONG + "ended\n"),
        ("kept = open('/dev/null', 'w')", LONG),
        ("kept = ctypes.CDLL('libc.so.6')", LONG),
        ("sys.modules['fast'] = type(sys)('fast'); sys.modules['fast'].__file__ = 'fast.so'", LONG),
        ("kept = open('/dev/null', 'w'); import colorsys, wave; gc.freeze()", LONG),
        ("sys.modules['odd'] = 1", LONG),
    ],
    ids=["object", "object unknown to gc", "generator", "file", "library", "module in C", "frozen", "odd"],
)
def test_what_the_interpreter_has_to_end(task: str, said: str) -> None:
    """An object with an end of its own, a library in C, or what nobody foresaw: the interpreter ends as ever."""
    assert said_by(task) == said

"""A short run of the fuzzer over everything that reads messages; `make fuzz` runs longer ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

SPEC = importlib.util.spec_from_file_location("fuzz", Path(__file__).parents[1] / "fuzz.py")
fuzz = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fuzz)


@given(seed=st.integers(0, 2**64))
def test_whatever_arrives_is_read_or_refused_with_a_reason(seed: int) -> None:
    """Good messages with bits, fields and pieces changed, behind wrong signatures and behind good ones."""
    ends = fuzz.fuzz(40, seed)
    assert sum(ends.values()) == 40


def test_the_fuzzer_reaches_every_reason_and_still_good_messages() -> None:
    """It is no fuzzer of one and the same error."""
    ends = fuzz.fuzz(4000, 1)
    assert {
        "TASK",
        "ASK",
        "INFO",
        "BAD_SIGNATURE",
        "BAD_JSON",
        "BAD_ENCODING",
        "BAD_MESSAGE",
        "a bundle",
        "no bundle",
    } <= ends.keys()

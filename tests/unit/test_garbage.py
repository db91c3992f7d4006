"""The collector of garbage looks less often while a harness is open, and as before after it."""

import gc

import pytest

from schedulergodx_testing import Harness
from schedulergodx_testing.garbage import OBJECTS_LEAST, seldom_collected


@pytest.fixture(autouse=True)
def usual():
    """Begin with what CPython begins with, and put back what was."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_a_harness_puts_back_what_was():
    """Inside it is the larger number; after it what it was."""
    with Harness():
        assert gc.get_threshold() == (OBJECTS_LEAST, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("chosen", [0, OBJECTS_LEAST + 1])
def test_who_has_chosen_is_left_alone(chosen):
    """A collector that is off stays off, and one that looks less often still stays as it is."""
    gc.set_threshold(chosen, 5, 5)
    with seldom_collected():
        assert gc.get_threshold() == (chosen, 5, 5)
    assert gc.get_threshold() == (chosen, 5, 5)


def test_what_a_test_sets_inside_stays():
    """It is not the harness's to put back."""
    with seldom_collected():
        gc.set_threshold(300, 10, 10)
    assert gc.get_threshold() == (300, 10, 10)

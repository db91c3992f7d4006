"""Small functions that tests of several files make tasks of."""

import sys
import time


def add(a, b=0):
    return a + b


def blame(text):
    raise ValueError(text)


def long_for(text):
    return len(text)


def nap_aloud(seconds):
    sys.stdout.write("napping\n")
    sys.stdout.flush()
    return nap(seconds)


def nap(seconds):
    time.sleep(seconds)
    return seconds

"""Small functions that tests of several files make tasks of."""

import time


def add(a, b=0):
    return a + b


def blame(text):
    raise ValueError(text)


def long_for(text):
    return len(text)


def nap(seconds):
    time.sleep(seconds)
    return seconds

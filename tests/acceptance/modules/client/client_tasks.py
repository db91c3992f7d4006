"""Tasks of a module that the service cannot import."""

import os
import threading
from dataclasses import dataclass

import helper_lib

from schedulergodx import Client

client = Client(name="travelling", request_queue=os.environ.get("TEST_REQUEST_QUEUE", "client-service"))
lock = threading.Lock()
rates = {"EUR": 2}


@dataclass
class Point:
    x: int
    y: int

    def moved(self, by):
        return Point(self.x + by, self.y + by)


def helper(amount):
    return amount * rates["EUR"]


@client.task
def price(amount):
    return helper(amount)


@client.task
def move(point, by):
    assert isinstance(point, Point), type(point)
    moved = point.moved(by)
    return moved.x, moved.y


@client.task
def guarded():
    with lock:
        return 1


@client.task
def helped():
    return helper_lib.double(21)


@client.task
def launch_price(amount):
    return price.launch(amount)


@client.task
def again(depth):
    """Launch itself until the depth is reached; return the id of the next one."""
    return again.launch(depth - 1) if depth else "the end"


@client.task
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

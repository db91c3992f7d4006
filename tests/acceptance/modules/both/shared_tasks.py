"""Tasks that client and service both can import, with state of which each has its own."""

import os
import threading

from schedulergodx import Client

client = Client(name="shared", request_queue=os.environ.get("TEST_REQUEST_QUEUE", "client-service"))
lock = threading.Lock()  # cannot be pickled, so what uses it travels by reference alone
calls = 0


@client.task
def count():
    """Count the runs in this process."""
    global calls  # noqa: PLW0603 - state of a module is the subject
    with lock:
        calls += 1
        return calls


@client.task
def where():
    """Tell in which process this ran, and what the client of this module has done there."""
    return os.getpid(), list(client.get_threads())


@client.task
def add(a, b):
    return a + b


@client.task
def launch_add(a, b):
    return add.launch(a, b)

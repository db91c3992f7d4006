"""A story with races, a crash, a cut connection, soft and hard tasks, delays, deadlines and failures."""

import random
import sys
import threading
import time

from schedulergodx import Client
from schedulergodx_testing import Harness

client = Client(name="shop", task_lifetime=None)
seen = {"count": 0}


@client.task
def count(name):
    before = seen["count"]
    time.sleep(random.choice([0.5, 1, 2]))
    seen["count"] = before + 1
    return sorted({name, "x", "y"})


@client.task
def parent(number):
    workers = [threading.Thread(target=time.sleep, args=(pause,)) for pause in (1, 1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    count.options(delay=number).launch(f"child of {number}")


@client.task(task_lifetime=10, hard_task_lifetime=10)
def oversleep():
    time.sleep(60)


@client.task
def fail():
    raise ValueError("as it was told")


def story(scheduler):
    seen["count"] = 0
    for number in range(6):
        count.options(delay=number % 4 or None).launch(f"user {number}")
        parent.options(delay=2).launch(number)
    oversleep.launch()
    oversleep.options(hard=True).launch()
    fail.launch()
    scheduler.advance(seconds=1)
    scheduler.broker.faults.cut()
    scheduler.broker.faults.repeat_delivery()
    scheduler.advance(seconds=2)
    scheduler.crash_service()
    scheduler.start_service()
    scheduler.run_all()
    scheduler.note("test", f"counted to {seen['count']}")


def told(seed):
    with Harness(seed=seed, service={"threads": 3, "processes": 1}) as scheduler:
        story(scheduler)
        return scheduler.timeline.to_json()


if __name__ == "__main__":
    sys.stdout.write(told(int(sys.argv[1])))

"""The system's own functions, kept here before anything is put in their place: the world itself runs on them."""

from __future__ import annotations

import _thread
import threading
import time

allocate_lock = _thread.allocate_lock
LOCK = type(allocate_lock())
"""The type of every plain lock."""
RLOCK = type(threading.RLock())
"""The type of every re-entrant lock that is written in C."""
acquire = LOCK.acquire
"""`acquire(lock, blocking, timeout)`, really waiting."""
monotonic = time.monotonic
thread_clock = getattr(time, "pthread_getcpuclockid", None)
"""Returns the clock of the processor time of a thread, for `clock_s`; None where systems have no such thing."""
clock_s = getattr(time, "clock_gettime", None)
process_s = time.process_time
sleep = time.sleep
time_s = time.time
start_thread = threading.Thread.start
join_thread = threading.Thread.join

"""The few bytes that a supervisor and the service tell each other, on the channel between them."""

from __future__ import annotations

import struct

NOTE = struct.Struct(">ci")
"""What a supervisor tells the service: a kind and a number."""
BEGAN = b"B"
"""The worker was forked; with its process id."""
EXITED = b"X"
"""The worker ended; with its status, as `os.waitpid` gives it."""
FAILED = b"F"
"""No process could be made; with the errno."""
GONE = b"G"
"""Nothing of the task is left. The supervisor waits for `NEXT`."""

REPORTED = b"R"
"""What the service tells a supervisor: the report is here; what is left of the task may live for the grace."""
KILL = b"K"
"""Ask everything of the task to end, and force it after the grace."""
KILL_NOW = b"!"
"""Force it now."""
NEXT = b"N"
"""Have a worker ready for one more task; with the end of its pipe. Other orders that come after `GONE` mean nothing."""

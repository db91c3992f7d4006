"""Bundles: messages to one queue that are ready at the same moment travel as one message of the broker.

```
SGXB1 <bytes of the first> <bytes of the second> …
<the first message><the second message>…
```

Launches of one batch come so, and answers to a queue whose client has said that it reads them. The first line says
where to cut and nothing else: each message in a bundle is whole, with its own signature, and is opened and checked as
if it had come alone. A bundle in a bundle is no message, so it is refused like anything else that is none.
"""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from schedulergodx.errors import MessageRejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAGIC = b"SGXB1"
MESSAGES_MAX = 100
"""Messages in one bundle; there are two at least."""
BYTES_MAX = 256 * 1024
"""Largest bundle, with its first line. A message that leaves no room for a second one travels alone."""
LAUNCHES_BYTES_MAX = 64 * 1024
"""Largest bundle of launches that is made, about fifty of small ones: a service may have hundreds of them in memory."""
BYTES_LEAST = 4096
"""No broker refuses a message for being larger: a smaller bundle was refused for something else."""
LENGTH_BYTES = len(f" {BYTES_MAX}")
"""What a message adds to the first line, at most."""
FRAME_BYTES = len(MAGIC) + 1
"""What the first line has besides."""
_LINE_BYTES_MAX = FRAME_BYTES + MESSAGES_MAX * LENGTH_BYTES
_LINE = re.compile(rb"%b((?: [1-9][0-9]{0,5}){2,%d})" % (MAGIC, MESSAGES_MAX))


def join(messages: Sequence[bytes]) -> bytes:
    """Return the bundle of these messages. That they are within the bounds is the caller's matter."""
    lengths = b" ".join([b"%d" % len(message) for message in messages])
    return b"%b %b\n%b" % (MAGIC, lengths, b"".join(messages))


def smaller(bytes_max: int, refused_bytes: int) -> int:
    """Return how large bundles may be after the broker has refused one of `refused_bytes`, perhaps for its size."""
    return min(bytes_max, max(refused_bytes // 2, BYTES_LEAST))


def count(body: bytes) -> int:
    """Return how many messages a bundle says that it has; 1 for what is none. Only its first line is looked at."""
    if not body.startswith(MAGIC):
        return 1
    end = body.find(b"\n", 0, _LINE_BYTES_MAX)
    return min(max(1, body.count(b" ", 0, end)), MESSAGES_MAX) if end > 0 else 1


def cut(body: bytes) -> Iterable[bytes]:
    """Return the messages of a bundle; what is no bundle is one message. Nothing of them is looked at.

    Raises:
        MessageRejected: its first line is not as it must be, or does not fit what follows.
    """
    if not body.startswith(MAGIC):
        return (body,)
    if len(body) > BYTES_MAX:
        raise MessageRejected(f"a bundle has {len(body)} bytes, {BYTES_MAX} are allowed", reason="TOO_LARGE")
    end = body.find(b"\n", 0, _LINE_BYTES_MAX)
    found = _LINE.fullmatch(body, 0, end) if end > 0 else None
    if found is None:
        raise MessageRejected(f"the first line of a bundle must name the lengths of 2 to {MESSAGES_MAX} messages")
    places = list(accumulate(map(int, found[1].split()), initial=end + 1))
    if places[-1] != len(body):
        raise MessageRejected("the lengths in the first line of a bundle do not add up to what follows")
    return [body[start:stop] for start, stop in pairwise(places)]

"""How long to wait before trying again."""

from __future__ import annotations

PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 10.0


def pause_s(failures: int, jitter: float) -> float:
    """Return the pause in seconds after so many `failures` in a row, from 1 on.

    It doubles from 0.1 s to 10 s; `jitter`, from 0 to 1, takes up to half of it away, so that many clients of one
    broker do not come back in the same moment.
    """
    # The exponent is bounded so that the power of a broker that is away for days stays a float.
    full_s = min(PAUSE_MAX_S, PAUSE_MIN_S * 2.0 ** min(failures - 1, 30))
    return max(PAUSE_MIN_S / 2, full_s * (1.0 - jitter / 2))

"""Reports: slow, heavy, and therefore in a process of their own that is killed when it overruns."""

import time

from shop.accounts import client

MONTHS = 12


@client.task(hard=True, hard_task_lifetime=3600)
def yearly_report(year: int, *, pause_s: float = 60.0) -> dict[str, int]:
    """Add up the months of a year, gently: the database has other users."""
    if year < 2000:
        raise ValueError(f"the shop did not exist in {year}")
    total = 0
    for month in range(1, MONTHS + 1):
        time.sleep(pause_s)
        total += 100 * month
    return {"year": year, "total": total}

"""A database of tests, open for the length of a block."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from schedulergodx.utils.storage import DB
from schedulergodx_testing.contracts.stored_tasks import NOON, SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def opened(path: Path, *, accepts_older: bool = False) -> Iterator[DB]:
    """Yield the database at `path`, closed at the end."""
    db = DB(path, accepts_older=accepts_older)
    db.open(owner="tests", now=NOON + SECOND)
    with closing(db):
        yield db

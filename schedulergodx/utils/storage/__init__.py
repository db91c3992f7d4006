"""Tasks and outcomes on disk: `DB`, in one SQLite file, and `TaskStatus`. The only place with SQL."""

from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.utils.storage.sqlite import DB

__all__ = ["DB", "TaskStatus"]

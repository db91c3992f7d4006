"""Tasks, outcomes and outgoing replies in SQLite."""

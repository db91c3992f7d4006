"""That a million tasks cost disk and not time: each query of the loop finds its rows by an index, unsorted."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schedulergodx.utils.storage import DB, moments, pending, queries
from schedulergodx_testing.contracts.stored_tasks import NOON, make_task


@pytest.fixture
def db(tmp_path: Path) -> Iterator[DB]:
    db = DB(tmp_path / "tasks.db")
    db.open(owner="tests", now=NOON)
    with closing(db):
        yield db


def plan(db: DB, sql: str) -> list[str]:
    numbers = [int(number) for number in re.findall(r"\?(\d)", sql)]
    parameters = (1,) * max(numbers, default=sql.count("?"))
    return [row[-1] for row in db._opened().rows(f"EXPLAIN QUERY PLAN {sql}", parameters)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (queries.DUE, "INDEX tasks_due (is_hard=? AND run_at<?)"),
        (queries.DUE_OF_CLIENT, "INDEX tasks_due_by_client (is_hard=? AND client=? AND run_at<?)"),
        (moments.NEXT, "INDEX tasks_due (is_hard=?)"),
        (moments.OLDEST_END, "INDEX tasks_ended (ended_at>?)"),
        (queries.PRUNABLE, "INDEX tasks_ended (ended_at<?)"),
        (queries.INTERRUPTED, "INDEX tasks_by_status (status=?)"),
    ],
)
def test_the_loop_searches_by_an_index(db: DB, sql: str, expected: str) -> None:
    """Due tasks, the next moment, the interrupted and the prunable are searched by an index of exactly those."""
    steps = plan(db, sql)
    assert steps[0].startswith("SEARCH tasks USING")
    assert steps[0].endswith(expected)
    assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step]


def test_clients_that_wait_are_found_by_one_search_for_each(db: DB) -> None:
    """However many tasks they have: from one client to the next by the index, and the earliest of each by it too."""
    steps = plan(db, queries.CLIENTS_WAITING)
    searches = [step for step in steps if "tasks" in step]
    assert len(searches) == 3
    assert all(
        step.startswith("SEARCH tasks USING INDEX tasks_due_by_client (is_hard=? AND client") for step in searches
    )
    assert [step for step in steps if "SCAN" in step] == ["SCAN waiting", "SCAN waiting"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (moments.OLDEST_FORGOTTEN, "SEARCH forgotten USING COVERING INDEX forgotten_ended"),
        (queries.PRUNABLE_IDS, "SEARCH forgotten USING COVERING INDEX forgotten_ended (ended_at<?)"),
        (queries.OLD_REPLIES, "SEARCH outbox USING INDEX outbox_by_queue (queue=?)"),
    ],
)
def test_what_is_forgotten_or_offered_again_is_searched_by_an_index(db: DB, sql: str, expected: str) -> None:
    """However many ids are kept, and however many queues do not take their answers."""
    assert plan(db, sql) == [expected]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (queries.REPLIES, "outbox USING INTEGER PRIMARY KEY (rowid>"),
        (queries.REPLIES_TO, "outbox USING INDEX outbox_by_queue (queue=? AND rowid>"),
        (queries.REPLY_QUEUES, "outbox USING COVERING INDEX outbox_by_queue (queue>?)"),
    ],
)
def test_answers_to_one_queue_are_searched_by_an_index(db: DB, sql: str, expected: str) -> None:
    """However many there are to others: twice, once for their sizes and once for their bodies."""
    searches = [step for step in plan(db, sql) if "outbox" in step]
    assert len(searches) == 2
    assert all(step.startswith(f"SEARCH {expected}") for step in searches)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (queries.STEP, "SEARCH tasks USING INDEX sqlite_autoindex_tasks_1 (message_id=?)"),
        (queries.WAITING_CLAIM, "SEARCH tasks USING INDEX sqlite_autoindex_tasks_1 (message_id=?)"),
        (queries.KNOWN_ONE, "SEARCH tasks USING INDEX sqlite_autoindex_tasks_1 (message_id=?)"),
        (queries.KNOWN_ONE, "SEARCH forgotten USING PRIMARY KEY (message_id=?)"),
        (queries.KNOWN_ALL, "SEARCH tasks USING INDEX sqlite_autoindex_tasks_1 (message_id=?)"),
        (queries.KNOWN_ALL, "SEARCH forgotten USING PRIMARY KEY (message_id=?)"),
        (pending.START_ONE, "SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"),
        (pending.FINISH_ONE, "SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"),
        (pending.REMOVE_REPLY, "SEARCH outbox USING INTEGER PRIMARY KEY (rowid=?)"),
        (pending.START, "SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"),
        (pending.FINISH, "SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"),
        (pending.REMOVE_REPLIES, "SEARCH outbox USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_what_is_written_together_is_searched_by_a_key(db: DB, sql: str, expected: str) -> None:
    """A statement for one row looks it up, one for many looks each of them up; none reads all tasks."""
    steps = plan(db, sql.replace("{rows}", ", ".join([f"({', '.join('?' * 8)})"] * 8)))
    assert expected in steps
    assert not [
        step for step in steps if step.startswith("SCAN") and step.split()[1] in {"tasks", "outbox", "forgotten"}
    ]


def test_the_index_of_what_waits_holds_nothing_else(db: DB) -> None:
    """The indexes for due and for prunable tasks are partial ones: rows of the past do not slow down the next task."""
    are_partial = {row[1]: row[4] for row in db._opened().rows("PRAGMA index_list(tasks)")}
    assert (are_partial["tasks_due"], are_partial["tasks_due_by_client"], are_partial["tasks_ended"]) == (1, 1, 1)


def test_due_tasks_share_the_bytes_of_their_function(db: DB) -> None:
    """A thousand due tasks of one function hold its bytes in memory once."""
    with db.transaction():
        for n in range(3):
            db.add(make_task(f"{n}"), now=NOON)
    assert len({id(task.function) for task in db.due(NOON, soft_limit=9, hard_limit=9)}) == 1

"""`assert_portable`, and what other tools that move time leave in a launch."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import freezegun
import pytest
import time_machine

from schedulergodx import Client
from schedulergodx_testing import Harness, HarnessError, assert_portable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# It asks every module for every attribute; one of that package connects to Docker then, and is not closed.
freezegun.configure(extend_ignore_list=["testcontainers"])

client = Client(name="shop")

TASKS = """
    import threading
    from schedulergodx import Client

    client = Client(name="shop")
    lock = threading.Lock()

    class Price:
        def __init__(self, cents):
            self.cents = cents

    class Nothing:
        def __reduce__(self):
            return "NOTHING"

    NOTHING = Nothing()

    @client.task
    def by_value(price):
        return price.cents

    @client.task(by="reference")
    def by_reference(cents):
        return cents

    @client.task
    def guarded(cents):
        with lock:
            return cents

    @client.task
    def raises():
        raise ValueError("not today")
"""


@client.task
def store(value: Any) -> str:
    return str(value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a test suite: importable here, and for nobody else."""
    (tmp_path / "suite_tasks.py").write_text(dedent(TASKS), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    del sys.modules["suite_tasks"]


@pytest.fixture
def tasks(folder: Path) -> Any:
    import suite_tasks

    return suite_tasks


def test_a_function_by_value_is_portable_with_classes_of_its_module(tasks: Any) -> None:
    """They travel with it, and it runs where none of it can be imported."""
    assert_portable(tasks.by_value, tasks.Price(500), run=True)


def test_a_function_by_reference_passes_in_process_and_is_not_portable(tasks: Any) -> None:
    """The module of the test suite is named, which nobody else has."""
    with Harness():
        assert tasks.by_reference.launch(5).result() == 5
    with pytest.raises(AssertionError, match=r"cannot import module 'suite_tasks'") as caught:
        assert_portable(tasks.by_reference, 5)
    assert 'the task says by="reference"' in str(caught.value)


def test_the_path_of_the_service_counts(tasks: Any, folder: Path) -> None:
    """What the service can import is no problem, and runs there."""
    assert_portable(tasks.by_reference, 5, path=[folder], run=True)
    assert_portable(tasks.guarded, 5, path=[folder], run=True)


def test_a_lock_in_a_global_is_named_as_the_reason(tasks: Any) -> None:
    """The function then travels by reference alone, which works in process."""
    with Harness():
        assert tasks.guarded.launch(5).result() == 5
    with pytest.raises(AssertionError, match="module 'suite_tasks'") as caught:
        assert_portable(tasks.guarded, 5)
    assert "its global 'lock' (lock) cannot be pickled" in str(caught.value)
    assert "A lock guards the threads of one process" in str(caught.value)


def test_a_path_that_is_not_there_is_refused(tasks: Any, folder: Path) -> None:
    """By name: Python would pass it over, and the assertion would say less than it seems to."""
    for missing in (folder / "gone", str(folder / "gone")):
        with pytest.raises(HarnessError, match=r"path= names what is not there: '\S*/gone', seen from .*imports from"):
            assert_portable(tasks.by_reference, 5, path=[folder, missing])
    with pytest.raises(HarnessError, match=r"path= takes a list of folders: path=\["):
        assert_portable(tasks.by_reference, 5, path=str(folder))


def test_an_open_lock_cannot_be_an_argument() -> None:
    """The argument is named, and no interpreter is started for it."""
    with pytest.raises(AssertionError, match=r"argument 'value' .*\(lock\) cannot be pickled.* A lock guards"):
        assert_portable(store, threading.Lock(), python="no such interpreter")


def test_a_class_of_the_suite_among_the_arguments_is_named(tasks: Any) -> None:
    """Another module's class travels by reference."""
    with pytest.raises(AssertionError, match=r"it needs suite_tasks\.Price, .*no module 'suite_tasks'"):
        assert_portable(len, tasks.Price(500))


def test_a_module_that_the_function_holds_is_named(tasks: Any) -> None:
    """A module in a global is imported again where the function is loaded."""

    def total() -> int:
        return tasks.by_value(tasks.Price(1))

    with pytest.raises(AssertionError, match="needs module 'suite_tasks'"):
        assert_portable(total)


def test_a_module_that_the_function_imports_is_named(tasks: Any) -> None:
    """Imports inside the function count, without running it; where it catches, running tells."""

    def total() -> int:
        import suite_tasks

        return suite_tasks.by_value(suite_tasks.Price(1))

    def total_or_nothing() -> int:
        try:
            import suite_tasks
        except ImportError:
            return 0
        return suite_tasks.by_value(suite_tasks.Price(1))

    with pytest.raises(AssertionError, match="the function imports 'suite_tasks'"):
        assert_portable(total)
    assert_portable(total_or_nothing, run=True)


def test_a_global_of_main_gets_its_own_message(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's `__main__` is another program."""
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "NOTHING", tasks.NOTHING, raising=False)
    monkeypatch.setattr(tasks.Nothing, "__module__", "__main__")
    monkeypatch.delattr(tasks, "NOTHING")
    with pytest.raises(AssertionError, match="the global 'NOTHING' of __main__"):
        assert_portable(store, main.NOTHING)


def test_a_global_that_does_not_exist_yet_is_named() -> None:
    """It does not travel with the function."""

    def early() -> object:
        return defined_later  # noqa: F821 - the subject of this test

    with pytest.raises(AssertionError, match="a global 'defined_later' that does not exist"):
        assert_portable(early)


def test_a_failure_of_a_run_is_told(tasks: Any) -> None:
    """With the exception's text; loading alone passes."""
    assert_portable(tasks.raises)
    with pytest.raises(AssertionError, match="ValueError: not today"):
        assert_portable(tasks.raises, run=True)


def test_a_frozen_datetime_is_not_portable() -> None:
    """Its class is named, and who put it there."""
    with freezegun.freeze_time("2026-01-01"):
        moment = datetime.now(UTC)
        with pytest.raises(AssertionError, match=r"freezegun\.api\.FakeDatetime, which exists in tests only"):
            assert_portable(store, moment)


def test_a_harness_takes_no_virtual_time_for_it(scheduler: Harness) -> None:
    """The interpreter is real, and the clock stands still."""
    before = scheduler.clock.now()
    assert_portable(store, before)
    assert scheduler.clock.now() == before


def test_something_that_is_no_task_is_refused() -> None:
    """With what it needs instead."""
    with pytest.raises(HarnessError, match="needs a task"):
        assert_portable("shop.remind")


def test_an_interpreter_without_our_dependencies_shows_what_it_said(tmp_path: Path) -> None:
    """Its own words, rather than a missing answer."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no such module >&2\nexit 3\n", "utf-8")
    program.chmod(0o755)
    with pytest.raises(AssertionError, match="ended with status 3 and no answer:\nno such module"):
        assert_portable(store, 1, python=str(program))


# --- freezegun and time-machine beside a harness ----------------------------------------------------------------------


def test_a_frozen_datetime_is_caught_at_launch(scheduler: Harness) -> None:
    """Also when the other clock is stopped by then; nothing is sent."""
    with freezegun.freeze_time("2026-01-01"):
        moment = datetime.now(UTC)
    with pytest.raises(HarnessError, match=r"an argument of .*store is a freezegun\.api\.FakeDatetime"):
        store.launch(moment)
    scheduler.run_until_idle()
    assert scheduler.launched == []
    assert scheduler.tasks == []


@pytest.mark.parametrize("tool", [freezegun.freeze_time, time_machine.travel])
def test_another_clock_beside_a_harness_is_refused(tool: Any) -> None:
    """At its opening, and at a launch."""
    with tool("2026-01-01"), pytest.raises(HarnessError, match="is active, and a harness has a clock of its own"):
        Harness().open()
    with Harness(), tool("2026-01-01"), pytest.raises(HarnessError, match="is active"):
        store.launch("anything")
    with Harness():
        assert store.launch("anything").result() == "anything"

"""Loggers of the standard library, configured as in 1.0.0."""

import copy
import logging
import os
import pickle
from pathlib import Path

import pytest

from schedulergodx.utils.logger import CoreLogger, LoggerConstructor


@pytest.fixture
def name(request):
    """The name of a logger of this test alone; its handlers are closed at the end."""
    name = f"test.{request.node.name}"
    yield name
    logger = logging.getLogger(name)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def test_it_is_a_logger_of_the_standard_library(name):
    """Everything that the logger has can be called on it; nothing is installed anywhere."""
    before = list(logging.getLogger().handlers)
    made = LoggerConstructor(name, log_level=None)
    assert made.getLogger() is made.logger is logging.getLogger(name)
    assert made.handlers == []
    assert made.level == logging.NOTSET
    made.setLevel(logging.ERROR)
    assert not made.isEnabledFor(logging.WARNING)
    assert logging.getLogger().handlers == before
    with pytest.raises(AttributeError):
        made.no_such_thing  # noqa: B018 - asking for it is the test


@pytest.mark.parametrize("level", [logging.WARNING, "WARNING"])
def test_a_file_is_written_when_asked_for(name, tmp_path: Path, level):
    """Lines of the level and above are appended, with moment, level and name; making it twice doubles no line."""
    path = tmp_path / "a.log"
    path.write_text("before\n")
    for where in (path, str(path)):
        made = LoggerConstructor(name, where, level)
    made.info("too low")
    made.warning("water %s", "é")
    before, line = path.read_text(encoding="utf-8").splitlines()
    assert before == "before"
    assert line.endswith(f" - WARNING - {name}:water é")


def test_a_log_file_is_for_this_user_alone(name, tmp_path: Path):
    """It is made with mode 0600, whatever the umask, also when it is made anew; the mode of an existing one stays."""
    path, existing = tmp_path / "a.log", tmp_path / "existing.log"
    existing.touch(0o640)
    before = os.umask(0)
    try:
        made = LoggerConstructor(name, path)
        made.info("line")
        assert path.stat().st_mode & 0o777 == 0o600
        path.unlink()
        for handler in made.logger.handlers:
            handler.close()
        made.info("line")
        LoggerConstructor(name, existing).info("line")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert existing.stat().st_mode & 0o777 == 0o640


def test_two_files(name, tmp_path: Path):
    """One logger may write several."""
    for file in ("a.log", "b.log"):
        LoggerConstructor(name, tmp_path / file).info("line")
    assert [len((tmp_path / file).read_text().splitlines()) for file in ("a.log", "b.log")] == [2, 1]


def test_the_methods_of_1_0_0(name, caplog):
    """Handlers, filters, and the methods by the names of their levels."""
    made = LoggerConstructor(name)
    levels = LoggerConstructor.log_levels(made.logger)
    assert set(levels) == {"debug", "info", "warning", "error", "critical", "fatal"}
    only = logging.Filter()
    only.filter = lambda record: "wanted" in record.getMessage()
    made.addFilter(only)
    levels["info"]("wanted")
    levels["fatal"]("not this one")
    assert caplog.messages == ["wanted"]
    handler = logging.NullHandler()
    made.addHandler(handler)
    assert handler in made.logger.handlers


def test_it_can_be_copied_and_pickled(name):
    """Loggers travel by their name."""
    made = LoggerConstructor(name, log_level=None)
    for again in (copy.copy(made), pickle.loads(pickle.dumps(made))):
        assert again.logger is made.logger


def test_the_core_stands_before_each_line(name, caplog):
    """Also with percent signs in it, with and without facts, and the line's place is where it was written."""
    lines = CoreLogger(logging.getLogger(name), "till 50%s")
    with caplog.at_level(logging.DEBUG):
        lines.info("nothing to fill in, 100%")
        lines.warning("a %s and %d", "fact", 5)
        lines.log(logging.DEBUG, "by number")
    assert caplog.messages == [
        "till 50%s - nothing to fill in, 100%",
        "till 50%s - a fact and 5",
        "till 50%s - by number",
    ]
    assert {record.filename for record in caplog.records} == {Path(__file__).name}
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        lines.info("too low")
    assert caplog.messages == []

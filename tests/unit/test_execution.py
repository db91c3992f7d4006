"""One run: every end of a function becomes a report, however hostile the function is."""

import asyncio
import dataclasses
import threading

import pytest

from schedulergodx import context
from schedulergodx.rules.lifecycle import Code, Report, TaskStatus
from schedulergodx.service import execution
from schedulergodx.service.execution import TEXT_BYTES_MAX, run_payload
from schedulergodx.utils.message import results
from schedulergodx_testing.specs import changed, make_task


def run(function, *args, is_hard=False, result_bytes_max=1024 * 1024, broker=None, **kwargs) -> Report:
    task = make_task(function, *args, is_hard=is_hard, **kwargs)
    return run_payload(task, start_number=1, broker=broker, result_bytes_max=result_bytes_max)


def test_a_result_is_told_as_text():
    """What the function returns is the result, by the rules of `results`."""
    report = run(lambda a, b: (a, b), 1, b="two")
    assert (report.code, report.status) == (Code.OK, TaskStatus.COMPLETED)
    assert results.decode(report.result) == (1, "two")


def test_a_coroutine_function_is_run_to_completion():
    """A coroutine function, and a plain one that returns a coroutine, give the coroutine's result."""

    async def double(number):
        await asyncio.sleep(0)
        return number * 2

    assert run(double, 4).result == "8"
    assert run(lambda: double(5)).result == "10"


def test_an_exception_is_told_with_type_text_and_traceback():
    """The report holds the qualified type, the text, and a traceback that begins in the user's code."""

    def inner():
        raise LookupError("nothing there")

    def outer():
        inner()

    report = run(outer)
    assert (report.code, report.status) == (Code.ERROR_IN_TASK, TaskStatus.ERROR)
    assert (report.exception_type, report.message, report.result) == ("LookupError", "nothing there", None)
    assert report.traceback.startswith("Traceback (most recent call last):\n")
    assert "in outer" in report.traceback
    assert report.traceback.endswith("LookupError: nothing there\n")
    assert "service/execution.py" not in report.traceback


def test_a_failing_coroutine_shows_no_frames_of_asyncio():
    """Between the service and a coroutine there is only machinery: it is left out."""

    async def fails():
        raise ValueError("inside")

    report = run(fails)
    assert report.exception_type == "ValueError"
    assert "in fails" in report.traceback
    assert "runners.py" not in report.traceback


def test_the_type_of_an_exception_is_qualified():
    """An exception of a module is named with it, as the traceback names it."""
    assert run(lambda: dataclasses.replace(3)).exception_type == "TypeError"

    class OwnError(Exception):
        pass

    def fails():
        raise OwnError

    assert run(fails).exception_type.endswith(".fails.<locals>.OwnError") or "OwnError" in run(fails).exception_type


class Evil(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)

    def _fail(self, *args):
        raise RuntimeError("no text for you")

    __str__ = __repr__ = __reduce__ = __reduce_ex__ = _fail


class EvilAttributes(Exception):
    @property
    def __cause__(self):
        raise RuntimeError("no cause for you")

    @property
    def __notes__(self):
        raise RuntimeError("no notes for you")


def raise_evil():
    raise Evil(1, 2)


def raise_evil_attributes():
    raise EvilAttributes("evil")


def raise_evil_name():
    class EvilMeta(type):
        @property
        def __module__(cls):
            raise RuntimeError("no module for you")

    class EvilName(Exception, metaclass=EvilMeta):
        pass

    raise EvilName("evil")


def raise_loop():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def raise_group():
    raise BaseExceptionGroup("several", [ValueError("a"), KeyboardInterrupt(), ExceptionGroup("inner", [OSError()])])


def raise_large():
    raise ValueError("x" * 50_000_000)


def raise_control_characters():
    raise ValueError("a\x00b\x1b[31mc\ud800d\ne")


def raise_keyboard_interrupt():
    raise KeyboardInterrupt


def raise_system_exit():
    raise SystemExit(3)


def raise_generator_exit():
    raise GeneratorExit


def recurse():
    return recurse()


def raise_empty():
    raise Exception  # noqa: TRY002 - the plainest one


@pytest.mark.parametrize(
    ("function", "kind", "text"),
    [
        (raise_evil, "Evil", "whose text raised RuntimeError"),
        (raise_evil_attributes, "EvilAttributes", "evil"),
        (raise_evil_name, "an unnamed type", "evil"),
        (raise_loop, "ValueError", "first"),
        (raise_group, "BaseExceptionGroup", "several (3 sub-exceptions)"),
        (raise_large, "ValueError", "xxx"),
        (raise_control_characters, "ValueError", "a\\x00b\\x1b[31mc\\ud800d\ne"),
        (raise_keyboard_interrupt, "KeyboardInterrupt", ""),
        (raise_system_exit, "SystemExit", "3"),
        (raise_generator_exit, "GeneratorExit", ""),
        (recurse, "RecursionError", "maximum recursion depth exceeded"),
        (raise_empty, "Exception", ""),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_raise_is_an_answer(function, kind, text):
    """Whatever is raised, the report names its type and holds bounded text that any database and terminal takes."""
    report = run(function)
    assert report.code is Code.ERROR_IN_TASK
    assert report.exception_type.endswith(kind)
    assert text in report.message
    assert function.__name__ in report.traceback
    for part in (report.exception_type, report.message, report.traceback):
        assert len(part.encode()) <= TEXT_BYTES_MAX
        assert all(character.isprintable() or character in "\n\t" for character in part)


def test_a_group_and_a_cause_are_in_the_traceback():
    """What the exception was made of is told."""
    assert "OSError" in run(raise_group).traceback
    assert "second" in run(raise_loop).traceback


def test_a_hard_task_that_leaves_is_told_as_exited():
    """`sys.exit` in a process of the task's own is the end of that process, not an error of the function."""
    report = run(raise_system_exit, is_hard=True)
    assert report.code is Code.TASK_EXITED
    assert report.message == "the task left its process by SystemExit(3)"


class EvilResult:
    def _fail(self, *args):
        raise RuntimeError("do not touch")

    __eq__ = __bool__ = __repr__ = __len__ = __iter__ = __getattr__ = _fail
    __hash__ = object.__hash__


def itself():
    value = []
    value.append(value)
    return value


def deep():
    value = []
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (threading.Lock, "result is a _thread.lock"),
        (lambda: (n for n in range(3)), "result is a generator"),
        (lambda: {"f": lambda: 1}, "result['f'] is a function"),
        (itself, "contains itself"),
        (deep, "nested deeper than 100 levels"),
        (EvilResult, "<EvilResult instance at "),
    ],
)
def test_a_result_that_cannot_travel_completes_the_task(function, text):
    """The task is done: it is COMPLETED, with a note and a safe repr."""
    report = run(function)
    assert (report.code, report.status) == (Code.RESULT_UNSERIALIZABLE, TaskStatus.COMPLETED)
    assert report.result is None
    assert text in report.message


def test_a_result_that_is_too_large_completes_the_task():
    """The limit is on the text of the result; its repr is shortened."""
    report = run(lambda: "x" * 100, result_bytes_max=101)
    assert (report.code, report.status) == (Code.RESULT_TOO_LARGE, TaskStatus.COMPLETED)
    assert report.message.startswith("the result is larger than 101 bytes of JSON: 'xxx")
    assert run(lambda: "x" * 100, result_bytes_max=102).code is Code.OK


def test_what_cannot_be_loaded_is_told():
    """A truncated pickle, a missing module and another Python are told apart, and nothing runs."""
    task = make_task(lambda: 1)
    broken = changed(task, function=task.function[:-3])
    elsewhere = changed(task, function=None, reference="no_such_module_here:function")
    other = changed(task, python="2.7.18")
    codes = [
        run_payload(each, start_number=1, broker=None, result_bytes_max=100).code for each in (broken, elsewhere, other)
    ]
    assert codes == [Code.BAD_PAYLOAD, Code.TASK_NOT_IMPORTABLE, Code.PYTHON_MISMATCH]


class ExitsWhenUnpickled:
    def __reduce__(self):
        return (raise_system_exit, ())


class EvilWhenUnpickled:
    def __reduce__(self):
        return (raise_evil, ())


@pytest.mark.parametrize("argument", [ExitsWhenUnpickled(), EvilWhenUnpickled()])
def test_an_argument_that_raises_while_it_is_unpickled_is_told(argument):
    """Unpickling runs code of the sender: its `sys.exit` and its evil exceptions are a bad payload, no more."""
    assert run(len, argument).code is Code.BAD_PAYLOAD


class LateWhenUnpickled:
    def __reduce__(self):
        return (raise_late, ())


def raise_late():
    raise RuntimeError("late")


@pytest.mark.parametrize(("argument", "culprit"), [(LateWhenUnpickled(), "raise_late"), (ExitsWhenUnpickled(), "exit")])
def test_what_raises_while_it_is_unpickled_is_told_with_its_place(argument, culprit):
    """Its traceback comes along, as that of a task's error does: bounded, and without frames of this library."""
    report = run(len, argument)
    assert report.code is Code.BAD_PAYLOAD
    assert report.traceback.startswith("Traceback (most recent call last):")
    assert culprit in report.traceback
    assert "execution.py" not in report.traceback.replace("test_execution.py", "")
    assert "payload.py" not in report.traceback


def test_a_payload_that_is_broken_itself_has_no_place():
    """Where no code of the sender ran there is nothing to point at."""
    task = make_task(lambda: 1)
    broken = changed(task, function=task.function[:-3])
    assert run_payload(broken, start_number=1, broker=None, result_bytes_max=100).traceback == ""


def test_the_function_can_ask_about_its_run():
    """Inside a run `current_task()` tells which one, and how to reach the broker; outside there is none."""

    def ask():
        task = context.current_task()
        return [task.message_id, task.start_number, task.client, task.broker]

    async def ask_later():
        await asyncio.sleep(0)
        return ask()

    for function in (ask, ask_later):
        report = run(function, message_id="m1", broker="sqlite:///x")
        assert results.decode(report.result) == ["m1", 1, "tester", "sqlite:///x"]
    assert context.current_task() is None


def test_a_run_shows_no_password():
    """The broker's address may hold a password, so it is not in the repr."""
    assert "secret" not in repr(context.RunningTask("m1", 1, "c", "amqp://user:secret@host/"))


def test_a_long_text_keeps_its_beginning_and_its_end():
    """Of a long text both ends are kept, in whole characters, within the limit."""
    text = execution.bounded("begin" + "é" * TEXT_BYTES_MAX + "end")
    assert text.startswith("beginé")
    assert text.endswith("éend")
    assert execution.CUT in text
    assert len(text.encode()) <= TEXT_BYTES_MAX

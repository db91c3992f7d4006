"""One run: load, call, and tell what came of it. The same for a thread and for a process; it never raises."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from pathlib import Path
from traceback import TracebackException, format_tb
from typing import TYPE_CHECKING, Any

from schedulergodx import context
from schedulergodx.rules.lifecycle import Code, Ending, Report
from schedulergodx.utils.keys.access import broker_and_keys
from schedulergodx.utils.message import payload, results

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from schedulergodx.utils.message.seals import Verified

TEXT_BYTES_MAX = 16 * 1024
"""Longest message and longest traceback of a report, in bytes of UTF-8 each."""
HEAD_BYTES = TEXT_BYTES_MAX // 4
"""What is kept of the beginning of a longer text; the rest is kept of its end, where the reason stands."""
CUT = "\n[… cut …]\n"

_TOO_LATE = Report(code=Code.OVERDUE_SKIPPED, message="The task was not to run any more when a thread came to it.")
_NO_COROUTINES = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})
"""What most functions return: to ask whether it is a coroutine takes longer than many a function."""
_PACKAGE = Path(__file__).parents[1]


def not_begun(on_begin: Callable[[], bool]) -> tuple[Report, Ending] | None:
    """Ask whether a run begins now; see `Runner.start`. Returns None if so, else what is to be told of it."""
    try:
        begins = on_begin()
    except OSError as error:
        what = bounded(f"It could not be noted that the task begins: {error}. It did not run.")
        return Report(code=Code.ERROR_IN_TASK, message=what), Ending.NOT_STARTED
    return None if begins else (_TOO_LATE, Ending.NOT_BEGUN)


def run_payload(  # noqa: PLR0913 - what a run needs, and three hooks
    task: Verified,
    *,
    start_number: int,
    broker: object | None,
    result_bytes_max: int,
    load: Callable[[Verified], payload.Loaded] = payload.load,
    passes: tuple[type[BaseException], ...] = (),
    on_ended: Callable[[], None] = lambda: None,
) -> Report:
    """Run the function of `task` to its end and report what came of it. Never raises, whatever the function raises.

    A coroutine is run to completion by `asyncio.run`. `SystemExit` and `KeyboardInterrupt` are outcomes like others.

    Args:
        task: what to run.
        start_number: 1 for its first start.
        broker: the service's own way to the broker, for clients inside the function; see `context.RunningTask`. An
            `Access` has its keys, too.
        result_bytes_max: a result whose text is larger is told as RESULT_TOO_LARGE; the task is completed all the same.
        load: makes the function and its arguments of the stored task.
        passes: what is raised on, instead of being an outcome.
        on_ended: called when the function has ended, before its report is made.
    """
    try:
        loaded = load(task)
    except payload.PayloadError as error:
        return Report(code=error.code, message=bounded(error.message), traceback=_loading_text(error.__cause__))
    except passes:
        raise
    except BaseException as error:  # noqa: BLE001 - unpickling and importing run code of the sender
        what = f"loading the task raised {results.type_name(type(error))}: {_text_of(error)}"
        return Report(code=Code.BAD_PAYLOAD, message=bounded(what), traceback=_loading_text(error))
    running = context.RunningTask(task.message_id, start_number, task.client, *broker_and_keys(broker))
    token = context.current.set(running)
    try:
        try:
            result = _call(loaded)
        finally:
            on_ended()
        return _success(result, result_bytes_max)
    except passes:
        raise
    except BaseException as error:  # noqa: BLE001 - every end of the function is an outcome
        return _failure(error, sys.exc_info()[2], is_hard=task.is_hard)
    finally:
        context.current.reset(token)


def _call(loaded: payload.Loaded) -> Any:
    result = loaded.function(*loaded.args, **loaded.kwargs)
    # By the type: `isinstance` would ask the result itself, and its answer is user code.
    kind = type(result)
    if kind not in _NO_COROUTINES and issubclass(kind, Coroutine):
        import asyncio  # noqa: PLC0415 - only for those who need it: it is a third of the start time

        return asyncio.run(result)
    return result


def _success(result: object, result_bytes_max: int) -> Report:
    try:
        return Report(code=Code.OK, result=results.encode(result, bytes_max=result_bytes_max))
    except results.Unserializable as error:
        is_large = isinstance(error, results.TooLarge)
        code = Code.RESULT_TOO_LARGE if is_large else Code.RESULT_UNSERIALIZABLE
        return Report(code=code, message=bounded(f"{error.reason}: {results.safe_repr(result)}"))


def _failure(error: BaseException, traceback: TracebackType | None, *, is_hard: bool) -> Report:
    message, code = _text_of(error), Code.ERROR_IN_TASK
    if is_hard and issubclass(type(error), SystemExit):
        code, message = Code.TASK_EXITED, f"the task left its process by SystemExit({message})"
    return Report(
        code=code,
        exception_type=bounded(results.type_name(type(error))),
        message=bounded(message),
        traceback=bounded(_traceback_text(error, _without_own_frames(traceback))),
    )


def _loading_text(error: BaseException | None) -> str:
    """Return where in the sender's code loading failed; "" when the payload itself is at fault."""
    frames = None if error is None else _without_own_frames(error.__traceback__)
    return "" if error is None or frames is None else bounded(_traceback_text(error, frames))


def _text_of(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except BaseException as failure:  # noqa: BLE001 - `__str__` is user code
        return f"<{results.type_name(type(error))} whose text raised {results.type_name(type(failure))}>"


def _without_own_frames(traceback: TracebackType | None) -> TracebackType | None:
    """Leave out the frames between the service and the function: this library's, and those of asyncio."""
    rest = traceback
    while rest is not None and _is_own(rest.tb_frame.f_code.co_filename):
        rest = rest.tb_next
    return rest


def _is_own(filename: str) -> bool:
    asyncio = sys.modules.get("asyncio")
    own = [_PACKAGE] if asyncio is None else [_PACKAGE, Path(asyncio.__file__ or _PACKAGE).parent]
    return any(Path(filename).is_relative_to(folder) for folder in own)


def _traceback_text(error: BaseException, traceback: TracebackType | None) -> str:
    try:
        return "".join(TracebackException(type(error), error, traceback, compact=True).format())
    except BaseException:  # noqa: BLE001 - causes, notes and groups are user objects; then without them
        lines = "".join(format_tb(traceback))
    return f"Traceback (most recent call last):\n{lines}{results.type_name(type(error))}: {_text_of(error)}\n"


def bounded(text: str) -> str:
    """Return `text` in at most `TEXT_BYTES_MAX` bytes, with control characters and lone surrogates escaped.

    Lines and tabs stay. Of a longer text the beginning and the end are kept.
    """
    if len(text) > 2 * TEXT_BYTES_MAX:  # first of all, so that a text of 50 MB costs little
        text = text[:TEXT_BYTES_MAX] + text[-TEXT_BYTES_MAX:]
    if not text.isprintable():
        text = "".join(character if _may_stay(character) else _escaped(character) for character in text)
    data = text.encode()
    if len(data) <= TEXT_BYTES_MAX:
        return text
    tail_bytes = TEXT_BYTES_MAX - HEAD_BYTES - len(CUT.encode())
    return data[:HEAD_BYTES].decode(errors="ignore") + CUT + data[-tail_bytes:].decode(errors="ignore")


def _may_stay(character: str) -> bool:
    return character.isprintable() or character in "\n\t"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")

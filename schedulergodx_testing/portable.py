"""`assert_portable`: would a service that has nothing of this test be able to run the task?

In a test everything is importable, and so a launch that works there may fail in production: the function's module, or
the class of an argument, exists in the test alone. Here the task is packed as a launch does, and loaded in a fresh
interpreter that sees the installed packages only.
"""

from __future__ import annotations

import base64
import builtins
import dis
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import schedulergodx
from schedulergodx import config
from schedulergodx.errors import TaskNotSerializable
from schedulergodx.utils.message import payload
from schedulergodx_testing import fresh_interpreter, pickles
from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.launched import function_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PATIENCE_S = 60.0
"""Real seconds that the fresh interpreter may take."""


def assert_portable(
    task: Any,
    *args: Any,
    path: Sequence[str | Path] = (),
    python: str = sys.executable,
    run: bool = False,
    **kwargs: Any,
) -> None:
    """Assert that a service could load `task.launch(*args, **kwargs)`, although it has nothing of this test.

    The fresh interpreter sees the packages that are installed for it, and `path`; neither the test's folders nor the
    current one. It takes real time, about 0.2 seconds, also inside a harness.

    Args:
        task: a task of `@client.task`, or a plain function.
        args: the arguments of the launch.
        path: folders that the service can import from, besides its installed packages.
        python: the interpreter; by default the test's own, with the packages installed there.
        run: run it as well, in the fresh interpreter and in real time; a failure of the function fails the assertion.
        kwargs: the keyword arguments of the launch, whatever their names but those above.

    Raises:
        AssertionError: it could not; the message names everything that is missing, each with what to do about it.
        HarnessError: `task` is no task, or an entry of `path` is not there.
    """
    function = function_of(task)
    folders = _entries(path)
    parameters = getattr(task, "parameters", None)
    try:
        packed = payload.pack(
            function,
            args,
            kwargs,
            by=getattr(parameters, "by", "auto"),
            by_value_modules=getattr(parameters, "by_value_modules", ()),
        )
    except TaskNotSerializable as error:
        raise AssertionError(_report(task, [f"{error}{_advice(error)}"])) from error
    problems = [*_test_only(packed), *_of_main(packed), *_undefined(function, packed)]
    answer = _ask(packed, function, path=folders, python=python, is_run=run)
    problems += _told(function, packed, answer, {name for name, _ in _needs(packed)})
    if problems:
        raise AssertionError(_report(task, problems))


def _entries(path: Sequence[str | Path]) -> list[str]:
    """Return the entries of a path in full. Raises HarnessError: one is not there, and Python would pass it over."""
    if isinstance(path, (str, Path)):
        raise HarnessError(f"path= takes a list of folders: path=[{str(path)!r:.200}]")
    if missing := [str(entry) for entry in path if not Path(entry).exists()]:
        raise HarnessError(
            f"path= names what is not there: {', '.join(map(repr, missing))}, seen from {Path.cwd()}. Name the folders "
            "that the service imports from"
        )
    return [str(Path(entry).resolve()) for entry in path]


def _advice(error: TaskNotSerializable) -> str:
    """Return what to do about the kinds of things that never travel, beyond what the error says."""
    text = str(error)
    if re.search(r"\b_?R?[Ll]ock\b", text):
        return " A lock guards the threads of one process, and a task runs in another one."
    if re.search(r"\b(socket|TextIOWrapper|Buffered(Reader|Writer)|Connection)\b", text):
        return " What is open here is not open there."
    return ""


def _report(task: Any, problems: list[str]) -> str:
    name = getattr(task, "name", None) or getattr(task, "__qualname__", repr(task))
    lines = "\n".join(f"- {problem}" for problem in dict.fromkeys(problems))
    return f"{name} is not portable: a service without this test's modules cannot run it.\n{lines}"


# --- what can be seen here --------------------------------------------------------------------------------------------


def _pickles(packed: payload.Packed) -> Iterator[tuple[str, bytes]]:
    """Yield what a service without the function's module loads, with the words for it."""
    if packed.function is not None:
        yield "the function", packed.function
    by_value = packed.arguments_by_value if packed.function is not None else None
    yield "the arguments", packed.arguments if by_value is None else by_value


def _needs(packed: payload.Packed) -> list[tuple[str, str]]:
    return [need for _, data in _pickles(packed) for need in pickles.needs(data)]


def _test_only(packed: payload.Packed) -> Iterator[str]:
    for what, data in _pickles(packed):
        for name in pickles.only_in_tests(data):
            yield f"{what} hold {name}, which exists in tests only: {pickles.advice_for(name)}"


def _of_main(packed: payload.Packed) -> Iterator[str]:
    for what, data in _pickles(packed):
        for module, name in pickles.needs(data):
            if module == "__main__":
                yield (
                    f"{what} refer to the global {name!r} of __main__, and the service's __main__ is another program: "
                    "move it to a module that the service can import"
                )


def _undefined(function: Callable[..., Any], packed: payload.Packed) -> Iterator[str]:
    """Tell globals that the function reads and that do not exist now: they do not travel, and it raises NameError."""
    if packed.function is None or packed.reference or not isinstance(function, FunctionType):
        return
    for name in sorted(_globals_read(function.__code__)):
        if name not in function.__globals__ and not hasattr(builtins, name):
            yield (
                f"the function reads a global {name!r} that does not exist at this moment, so it does not travel: "
                "define it before the launch"
            )


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _globals_read(code: CodeType) -> set[str]:
    return {
        instruction.argval
        for part in _codes(code)
        if not _may_catch(part)
        for instruction in dis.get_instructions(part)
        if instruction.opname == "LOAD_GLOBAL"
    }


def _imports(code: CodeType) -> set[str]:
    return {
        str(instruction.argval).partition(".")[0]
        for part in _codes(code)
        if not _may_catch(part)
        for instruction in dis.get_instructions(part)
        if instruction.opname == "IMPORT_NAME" and instruction.argval
    }


def _may_catch(code: CodeType) -> bool:
    """Return whether it has a `try` or `with`: what is missing may then be expected. `run=True` tells."""
    return bool(code.co_exceptiontable)


# --- what a fresh interpreter sees ------------------------------------------------------------------------------------


def _ask(
    packed: payload.Packed, function: Callable[..., Any], *, path: Sequence[str], python: str, is_run: bool
) -> Mapping[str, Any]:
    fields = {name: _text(value) for name, value in asdict(packed).items()} | {"python": payload.PYTHON_VERSION}
    order = {
        "path": path,
        "package_parent": str(Path(schedulergodx.__file__).resolve().parents[1]),
        "needs": [need for need in _needs(packed) if not _is_told_here(need[0])],
        "imports": sorted(_imports(function.__code__)) if isinstance(function, FunctionType) else [],
        "task": fields,
        "is_run": is_run,
        "result_bytes_max": config.MESSAGE_BYTES_MAX,
        "patience_s": PATIENCE_S,
    }
    with tempfile.TemporaryDirectory(prefix="schedulergodx-") as folder:
        order_file, answer_file, said = (Path(folder, name) for name in ("order", "answer", "said"))
        order_file.write_text(json.dumps(order), "utf-8")
        script = [python, "-I", str(Path(fresh_interpreter.__file__)), str(order_file), str(answer_file)]
        with said.open("wb") as output:
            # It ends itself in time. A wait with a timeout would count virtual seconds inside a harness.
            status = subprocess.Popen(  # noqa: S603 - the interpreter is the caller's choice
                script, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            ).wait()
        if not answer_file.exists():
            text = said.read_text("utf-8", errors="replace")[-4000:].strip()
            raise AssertionError(f"the fresh interpreter {python} ended with status {status} and no answer:\n{text}")
        return json.loads(answer_file.read_text("utf-8"))  # type: ignore[no-any-return]  # our own script wrote it


def _text(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _is_told_here(module: str) -> bool:
    return module == "__main__" or module.partition(".")[0] in pickles.TEST_ONLY


def _told(
    function: Callable[..., Any], packed: payload.Packed, answer: Mapping[str, Any], known: set[str]
) -> Iterator[str]:
    for module, name, reason in answer["needs"]:
        yield (
            f"it needs {module}.{name}, and a fresh interpreter cannot have it ({reason}): install {module!r} where "
            "the service runs, or name it in by_value_modules of the task"
        )
    for name in answer["imports"]:
        yield f"the function imports {name!r}, which a fresh interpreter does not have: install it for the service"
    if answer["load"] is not None:
        code, message, module = answer["load"]
        if packed.function is None and code == "TASK_NOT_IMPORTABLE":
            yield f"{message.rstrip('.')}. It travels by reference alone, because {_why_by_reference(function)}"
        elif not (module in known or any(_is_told_here(name) for name in known) or answer["needs"]):
            yield f"{code}: {message}"
    if answer["run"] and answer["load"] is None:
        yield f"it loads, and then fails in a fresh interpreter: {answer['run']}"


def _why_by_reference(function: Callable[..., Any]) -> str:
    try:
        payload.pack(function, (), {}, by="value")
    except TaskNotSerializable as error:
        return f"it cannot travel by value: {error}{_advice(error)}"
    return 'the task says by="reference"'

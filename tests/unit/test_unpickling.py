"""Who unpickles, and what: one module, and only what was verified. Read from the source, and tried."""

from __future__ import annotations

import ast
import copy
import pickle
from dataclasses import fields, replace
from pathlib import Path

import pytest

from schedulergodx.rules.lifecycle import Code
from schedulergodx.rules.tasks import TaskSpec
from schedulergodx.service.execution import run_payload
from schedulergodx.utils.message import payload
from schedulergodx.utils.message.seals import Sealed, Verified, from_own_service
from schedulergodx_testing.specs import changed, make_task

LIBRARY = Path(__file__).parents[2] / "schedulergodx"
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "multiprocessing"}
"""Modules that make objects out of bytes by running code, or that hand them on so."""
HOMES = {
    "cloudpickle": {"utils/message/payload.py"},
    "pickle": {"utils/message/payload.py"},
}
EVALUATORS = {"eval", "exec", "compile", "__import__"}
MAKERS = {
    "_verified": {"utils/message/seals.py"},
    "Verified": set(),  # nobody calls it: it refuses
    "Sealed": set(),  # as well
    "from_own_service": {"service/runner/frames.py"},
    "with_limits": {"service/runner/processes.py"},
    "object.__new__": set(),
}
CALLERS_OF_LOADS = {"utils/message/payload.py", "utils/message/constructor.py"}
"""The second has `deserialization` of 1.0.0, which its user calls by himself."""

SOURCES = [(path.relative_to(LIBRARY).as_posix(), ast.parse(path.read_text())) for path in LIBRARY.rglob("*.py")]


def imported(tree: ast.AST) -> set[str]:
    """Return the top names of all modules that are imported, anywhere in the file."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def called(tree: ast.AST) -> set[str]:
    """Return what is called, as it is written."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize(("path", "tree"), SOURCES, ids=[path for path, _ in SOURCES])
def test_one_module_unpickles_and_nothing_evaluates(path: str, tree: ast.AST) -> None:
    """No other module imports what could, and none runs code that stands in a text."""
    for name in imported(tree) & UNPICKLERS:
        assert path in HOMES.get(name, set()), f"{path} imports {name}"
    assert not called(tree) & EVALUATORS, f"{path} evaluates text"


@pytest.mark.parametrize(("path", "tree"), SOURCES, ids=[path for path, _ in SOURCES])
def test_only_the_verifier_makes_what_may_be_unpickled(path: str, tree: ast.AST) -> None:
    """The makers of a verified task are called where they must be, and nowhere else."""
    for name in {call.removeprefix("seals.") for call in called(tree)} & MAKERS.keys():
        assert path in MAKERS[name], f"{path} calls {name}"
    is_swapping = any(
        isinstance(node, ast.Attribute) and node.attr == "__class__" and isinstance(node.ctx, ast.Store)
        for node in ast.walk(tree)
    )
    assert not is_swapping or path == "utils/message/seals.py"
    loads = {call for call in called(tree) if call in {"payload.loads", "cloudpickle.loads", "pickle.loads", "_loads"}}
    assert not loads or path in CALLERS_OF_LOADS, f"{path} unpickles"


def test_the_checks_see_a_breach() -> None:
    """They find what they are for."""
    tree = ast.parse("from pickle import loads\nimport a\ndef f():\n    import dill.x\n    eval('1')\n    Verified(1)")
    assert imported(tree) & UNPICKLERS == {"pickle", "dill"}
    assert called(tree) == {"eval", "Verified"}


def test_what_is_not_verified_is_not_looked_at() -> None:
    """A plain task, however it looks, is refused before a byte of it is unpickled."""
    verified = make_task(abs, -1)
    plain = TaskSpec(**{field.name: getattr(verified, field.name) for field in fields(TaskSpec)})
    with pytest.raises(TypeError, match="only a verified task is unpickled"):
        payload.load(plain)
    assert run_payload(plain, start_number=1, broker=None, result_bytes_max=9).code is Code.BAD_PAYLOAD
    assert payload.load(from_own_service(plain)).args == (-1,)


def test_a_verified_task_is_made_by_nobody_else_and_never_changes() -> None:
    """Not by its class, by a copy with changes, by a pickle; and no field of it can be set."""
    task = make_task(abs, -1)
    for make in (
        Verified,
        Sealed,
        lambda: replace(task, function=b"other"),
        lambda: pickle.dumps(task),
        lambda: copy.copy(task),
    ):
        with pytest.raises(TypeError):
            make()
    with pytest.raises(AttributeError):
        task.function = b"other"
    assert changed(task, python="2.7").python == "2.7"

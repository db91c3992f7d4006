"""The rules of the house, read from the source: who imports whom, who asks the system for what, what is too large."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "schedulergodx"
TESTING = ROOT / "schedulergodx_testing"
FILES = sorted([*LIBRARY.rglob("*.py"), *TESTING.rglob("*.py")])

FLOORS = {
    "schedulergodx.errors": 0,
    "schedulergodx.forks": 0,
    "schedulergodx.lazy": 0,
    "schedulergodx.redirection": 0,
    "schedulergodx.clock": 1,
    "schedulergodx.config": 1,
    "schedulergodx.context": 1,
    "schedulergodx.file_lock": 1,
    "schedulergodx.system": 1,
    "schedulergodx.version": 1,
    "schedulergodx.rules": 2,
    "schedulergodx.utils.abstractions": 3,
    "schedulergodx.utils.bases": 3,
    "schedulergodx.utils.digests": 2,
    "schedulergodx.utils.id_generators": 3,
    "schedulergodx.utils.keys": 3,
    "schedulergodx.utils.logger": 3,
    "schedulergodx.utils.rmq_property": 3,
    "schedulergodx.utils.message": 3,
    "schedulergodx.utils.storage": 4,
    "schedulergodx.transport": 4,
    "schedulergodx.client": 5,
    "schedulergodx.service": 5,
    "schedulergodx.cli": 6,
    "schedulergodx.__main__": 7,
}
"""A module imports only from floors below its own, and inside its own folder."""

FLOOR_OF_PEERS = FLOORS["schedulergodx.utils.message"]
"""Here rooms may import each other: they are what client and service have in common."""

EXCEPTIONS = {("schedulergodx.utils.rmq_property", "schedulergodx.transport.rabbitmq.parameters")}
"""`RmqConnect.get_channel()` of 1.0.0 returns a pika channel, so it imports pika's home, inside the function."""

RE_EXPORTS = {"schedulergodx", "schedulergodx.utils"}
"""Packages whose `__init__` only re-exports, for users; code inside the library imports the modules."""

ONLY_IN = {
    "time": ["schedulergodx/clock.py", "schedulergodx_testing/rabbitmq/", "schedulergodx_testing/world/"],
    "pika": ["schedulergodx/transport/rabbitmq/"],
    "sqlite3": [
        "schedulergodx/utils/storage/",
        "schedulergodx/transport/sqlite/",
        "schedulergodx_testing/world/interpose/",
    ],
    "cloudpickle": ["schedulergodx/utils/message/payload.py"],
    "pickle": ["schedulergodx/utils/message/payload.py"],
    "fcntl": ["schedulergodx/file_lock.py", "schedulergodx/service/runner/worker.py"],
    "random": ["schedulergodx/transport/rabbitmq/", "schedulergodx_testing/"],
    "uuid": [
        "schedulergodx/utils/message/results.py",
        "schedulergodx_testing/contracts/",
        "schedulergodx_testing/world/interpose/",
    ],
    "concurrent.futures": ["schedulergodx_testing/world/interpose/"],
    "multiprocessing": ["schedulergodx_testing/world/interpose/"],
    "pytest": ["schedulergodx_testing/"],
    "hypothesis": ["schedulergodx_testing/"],
    "testcontainers": ["schedulergodx_testing/rabbitmq/container.py", "schedulergodx_testing/rabbitmq/choose.py"],
}
"""Who may import what; a folder stands for all in it."""

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70


def name_of(path: Path) -> str:
    """Return the module's dotted name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def short(path: Path) -> str:
    """Return the path as tests name it."""
    return path.relative_to(ROOT).as_posix()


def trees(paths: list[Path]) -> list:
    """Return a parameter for each file, named by its path."""
    return [pytest.param(path, ast.parse(path.read_text()), id=short(path)) for path in paths]


def is_for_types(node: ast.AST) -> bool:
    """Return whether `node` is an `if TYPE_CHECKING:`, whose imports do not happen."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(tree: ast.AST) -> list[tuple[int, str, str]]:
    """Return (line, module, name) of every import that happens, also inside functions; name is "" for whole modules."""
    found: list[tuple[int, str, str]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports name the whole module"
            found += [(node.lineno, node.module or "", alias.name) for alias in node.names]
        waiting += node.orelse if is_for_types(node) else ast.iter_child_nodes(node)
    return found


def floor_of(module: str) -> tuple[str, int] | None:
    """Return the room that `module` is in, and its floor."""
    rooms = [room for room in FLOORS if module == room or module.startswith(room + ".")]
    return max(((room, FLOORS[room]) for room in rooms), key=lambda found: len(found[0]), default=None)


def may_import(importer: str, imported: str) -> bool:
    """Return whether the rules let `importer` import `imported`."""
    if importer in RE_EXPORTS or (importer, imported) in EXCEPTIONS:
        return True
    here, there = floor_of(importer), floor_of(imported)
    assert here is not None, f"{importer} is in no room: name its floor in FLOORS"
    if there is None:
        return imported == "schedulergodx" and here[1] >= FLOORS["schedulergodx.cli"]
    is_inside = here[0] == there[0] or (here[1] == there[1] == FLOOR_OF_PEERS)
    return there[1] < here[1] or is_inside


@pytest.mark.parametrize(("path", "tree"), trees(sorted(LIBRARY.rglob("*.py"))))
def test_imports_point_one_way(path: Path, tree: ast.AST) -> None:
    """A module imports only from lower floors and from its own folder; client and service never meet."""
    for line, module, name in imports(tree):
        if module.split(".")[0] != "schedulergodx":
            continue
        # `from schedulergodx import config` imports a module, not a name of the package.
        whole = f"{module}.{name}" if floor_of(f"{module}.{name}") and not floor_of(module) else module
        assert may_import(name_of(path), whole), f"{short(path)}:{line} must not import {whole}"


@pytest.mark.parametrize(("path", "tree"), trees(sorted(LIBRARY.rglob("*.py"))))
def test_the_library_never_imports_its_testing_half(path: Path, tree: ast.AST) -> None:
    """Production code needs neither `schedulergodx_testing` nor pytest nor Hypothesis."""
    for line, module, _ in imports(tree):
        assert module.split(".")[0] not in {"schedulergodx_testing", "pytest", "hypothesis"}, f"{short(path)}:{line}"


@pytest.mark.parametrize(("path", "tree"), trees(FILES))
def test_each_outside_thing_has_one_home(path: Path, tree: ast.AST) -> None:
    """Only the clock asks for the time, only the RabbitMQ transport knows pika, only storage knows SQL, and so on."""
    for line, module, _ in imports(tree):
        for outside, homes in ONLY_IN.items():
            if module == outside or module.startswith(outside + "."):
                assert any(short(path).startswith(home) for home in homes), (
                    f"{short(path)}:{line} imports {module}, whose home is {homes or 'nowhere'}"
                )


@pytest.mark.parametrize(("path", "tree"), trees(FILES))
def test_nobody_else_asks_the_system_for_the_time(path: Path, tree: ast.AST) -> None:
    """`datetime.now`, `utcnow`, `today` stand in the clock alone, so that a fake clock rules everything."""
    if short(path) in {"schedulergodx/clock.py", "schedulergodx_testing/world/interpose/datetimes.py"}:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"utcnow", "today"}:
            pytest.fail(f"{short(path)}:{node.lineno} asks the system for the time")
        if isinstance(node, ast.Attribute) and node.attr == "now":
            assert ast.unparse(node.value) != "datetime", f"{short(path)}:{node.lineno} asks the system for the time"


@pytest.mark.parametrize(("path", "tree"), trees(sorted(LIBRARY.rglob("*.py"))))
def test_only_transports_and_runners_start_threads(path: Path, tree: ast.AST) -> None:
    """Everything else happens in the thread that calls it."""
    if short(path).startswith(("schedulergodx/transport/", "schedulergodx/service/runner/")):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"threading.Thread", "Thread", "threading.Timer"}:
            pytest.fail(f"{short(path)}:{node.lineno} starts a thread")


@pytest.mark.parametrize(("path", "tree"), trees(FILES))
def test_files_and_functions_stay_small(path: Path, tree: ast.AST) -> None:
    """A file has at most 500 lines, a function at most 70, its docstring and parameters not counted."""
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX, f"{short(path)} is too long: one subject for each file"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{short(path)}:{node.lineno} {node.name} has {lines} lines"


@pytest.mark.parametrize(("path", "tree"), trees(FILES))
def test_a_todo_has_a_number(path: Path, tree: ast.AST) -> None:
    """What is left to do stands in an issue, and the comment names it."""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        assert "TODO" not in line or "TODO #" in line, f"{short(path)}:{number}"


VIRTUAL = [
    pytest.param(path, ast.parse(path.read_text()), id=short(path))
    for folder in ("unit", "simulation", "model")
    for path in sorted((ROOT / "tests" / folder).rglob("*.py"))
]
OTHER_CLOCKS = {"freezegun", "time_machine"}
ABOUT_OTHER_CLOCKS = {"tests/simulation/test_portable.py", "tests/simulation/world/test_virtual_clocks.py"}
IN_A_WORLD = {"Harness", "scheduler", "world", "check_redelivery_safe"}


def own_clocks_and_brokers(tree: ast.AST) -> list[str]:
    """Return the classes that are clocks or brokers, but for those made from the ones that users get."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return [
        node.name
        for node in classes
        if node.name.endswith(("Clock", "Broker"))
        and not {"FakeClock", "MemoryBroker"} & set(map(ast.unparse, node.bases))
    ]


def names(tree: ast.AST) -> set[str]:
    """Return every name that is used, of arguments too."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {
        node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)
    }


@pytest.mark.parametrize(("path", "tree"), VIRTUAL)
def test_our_own_tests_use_the_clock_and_the_broker_that_users_get(path: Path, tree: ast.AST) -> None:
    """Unit tests, simulations and models never really sleep: they have no other clock, and sleep in a harness only."""
    modules = {module.split(".")[0] for _, module, _ in imports(tree)}
    used = names(tree) | {name for _, _, name in imports(tree)}
    assert own_clocks_and_brokers(tree) == []
    assert not modules & OTHER_CLOCKS or short(path) in ABOUT_OTHER_CLOCKS
    assert "SystemClock" not in used
    assert "time" not in modules or IN_A_WORLD & used, f"{short(path)} uses the system's time"


def test_the_rules_see_a_breach() -> None:
    """The checks themselves find what they are for."""
    assert not may_import("schedulergodx.client.core", "schedulergodx.service.core")
    assert not may_import("schedulergodx.rules.due", "schedulergodx.utils.message.kinds")
    assert not may_import("schedulergodx.utils.storage.sqlite", "schedulergodx.client.core")
    assert may_import("schedulergodx.client.core", "schedulergodx.utils.message.envelope")
    assert may_import("schedulergodx.service.runs", "schedulergodx.rules.due")
    tree = ast.parse("if TYPE_CHECKING:\n    import pika\nelse:\n    import time\ndef f():\n    from a.b import c\n")
    assert sorted(imports(tree)) == [(4, "time", ""), (6, "a.b", "c")]

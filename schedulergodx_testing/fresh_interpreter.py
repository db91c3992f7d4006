"""Loads a task where nothing of the test is. A script: `portable.py` starts it in an interpreter of its own.

Usage: python -I fresh_interpreter.py ORDER ANSWER, two JSON files. It imports nothing of schedulergodx_testing.
"""

from __future__ import annotations

import base64
import faulthandler
import importlib
import importlib.util
import json
import sys
from datetime import UTC, datetime
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any


def main(order_file: str, answer_file: str) -> None:
    """Carry out an order, and write what was found."""
    order: dict[str, Any] = json.loads(Path(order_file).read_text("utf-8"))
    faulthandler.dump_traceback_later(order["patience_s"], exit=True)
    sys.path[:0] = order["path"]
    _take_package(order["package_parent"])
    answer = {
        "python": sys.version.split()[0],
        "needs": _missing(order["needs"]),
        "imports": [name for name in order["imports"] if not _is_there(name)],
        "load": _load(order["task"]),
        "run": _run(order["task"], order["result_bytes_max"]) if order["is_run"] else "",
    }
    Path(answer_file).write_text(json.dumps(answer), "utf-8")


def _take_package(parent: str) -> None:
    """Import the schedulergodx that the test uses, and nothing else of its folder."""
    spec = PathFinder.find_spec("schedulergodx", [parent])
    if spec is None or spec.loader is None:
        raise SystemExit(f"there is no schedulergodx in {parent}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["schedulergodx"] = module
    spec.loader.exec_module(module)


def _missing(needs: list[list[str]]) -> list[list[str]]:
    """Return those of the names that cannot be had here, each as module, name and reason."""
    found = []
    for module_name, qualname in needs:
        try:
            thing: Any = importlib.import_module(module_name)
            for part in qualname.split("."):
                thing = getattr(thing, part)
        except Exception as error:  # noqa: BLE001 - importing runs the module, which may raise anything
            found.append([module_name, qualname, _missing_module(error) or f"{type(error).__name__}: {error}"])
    return found


def _missing_module(error: BaseException | None) -> str:
    return f"no module {error.name!r}" if isinstance(error, ModuleNotFoundError) else ""


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # ValueError: a module that has no spec
        return name in sys.modules


def _task(fields: dict[str, Any]) -> Any:
    from schedulergodx.rules.tasks import TaskSpec  # noqa: PLC0415 - it is there only after `_take_package`
    from schedulergodx.utils.message.seals import from_own_service  # noqa: PLC0415

    def data(name: str) -> bytes | None:
        return None if fields[name] is None else base64.b64decode(fields[name])

    moment = datetime(2026, 1, 1, tzinfo=UTC)
    task = TaskSpec(
        message_id="portable",
        client="portable",
        reply_to="",
        name=fields["name"],
        digest=b"",
        function=data("function"),
        reference=fields["reference"],
        code_digest=fields["code_digest"],
        arguments=data("arguments") or b"",
        arguments_by_value=data("arguments_by_value"),
        python=fields["python"],
        is_hard=False,
        lifetime_s=None,
        issued_at=moment,
        run_at=moment,
        is_delayed=False,
        is_overdue_enabled=False,
    )
    return from_own_service(task)


def _load(fields: dict[str, Any]) -> list[str] | None:
    """Load as a service does; return None, or the code, the message, and the missing module or ''."""
    from schedulergodx.utils.message import payload  # noqa: PLC0415

    try:
        payload.load(_task(fields))
    except payload.PayloadError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else ""
        return [error.code.value, error.message, missing or ""]
    return None


def _run(fields: dict[str, Any], result_bytes_max: int) -> str:
    """Run it; return "" when it completed, else what happened."""
    from schedulergodx.rules.lifecycle import Code  # noqa: PLC0415
    from schedulergodx.service.execution import run_payload  # noqa: PLC0415

    report = run_payload(_task(fields), start_number=1, broker=None, result_bytes_max=result_bytes_max)
    if report.code is Code.OK:
        return ""
    return f"{report.code.value}, {report.exception_type}: {report.message}\n{report.traceback}".rstrip()


if __name__ == "__main__":
    main(*sys.argv[1:])

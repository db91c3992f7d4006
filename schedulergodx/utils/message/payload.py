"""How functions and arguments travel. The one file that imports cloudpickle, and the one place that unpickles.

A function travels **by value** (its code, cloudpickled) and, where it can be imported by name, **by reference** as
well. The service prefers the reference when it can import the module and finds the same code there, so that module
state (pools, caches, loggers) is the service's own; else it runs the value, which is exactly the code that was sent.
A function that cannot travel by value (its globals hold a lock, a connection) goes by reference alone.

Arguments are pickled as they are, and a second time for a function that runs by value, where its module's own classes
are among them: they travel by value then, too.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import platform
import re
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import cloudpickle  # type: ignore[import-untyped]  # it ships no types

from schedulergodx import forks
from schedulergodx.errors import InvalidParameter, MessageRejected, TaskNotSerializable
from schedulergodx.rules.lifecycle import Code
from schedulergodx.utils.message import results
from schedulergodx.utils.message.functions import (
    captured,
    code_digest,
    function_name,
    modules_of,
    named_arguments,
    plain,
    reference_of,
)
from schedulergodx.utils.message.seals import Verified
from schedulergodx.utils.message.stateless import is_stateless
from schedulergodx.utils.message.unchanged import PickledFunctions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import ModuleType

    from schedulergodx.rules.tasks import TaskSpec

Travel: TypeAlias = Literal["auto", "value", "reference", "name"]
"""How a function travels: both ways where possible, or pinned to one. `name`: by reference, and arguments as data."""

PYTHON_VERSION = platform.python_version()
CLOUDPICKLE_VERSION: str = cloudpickle.__version__

_FUNCTIONS_KEPT_MAX = 256


class PayloadError(Exception):
    """A payload cannot be loaded; `code` says why."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(kw_only=True, slots=True)
class Packed:
    """A function and its arguments, ready to travel; the fields are those of `TaskSpec`."""

    name: str
    function: bytes | None = field(repr=False)
    reference: str
    code_digest: str
    arguments: bytes = field(repr=False)
    arguments_by_value: bytes | None = field(repr=False)


@dataclass(kw_only=True, slots=True)
class Loaded:
    """A function and its arguments, ready to be called."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


# --- packing, in the client ------------------------------------------------------------------------------------------


def pack(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    by: Travel = "auto",
    by_value_modules: Sequence[str] = (),
) -> Packed:
    """Pickle `function` and its arguments as they are at this moment. Safe from any thread.

    Args:
        function: what is to be called.
        args: its positional arguments.
        kwargs: its keyword arguments.
        by: whether it travels by value, by reference, or both ways where possible; `name`: by reference, with arguments
            as data instead of a pickle.
        by_value_modules: names of further modules whose functions and classes travel by value.

    Raises:
        TaskNotSerializable: the function or an argument cannot be pickled; `variable` says which.
    """
    name = function_name(function)
    reference = "" if by == "value" else reference_of(function)
    if by in {"reference", "name"} and not reference:
        raise TaskNotSerializable(
            f"task {name} cannot travel by reference: it is not a function that a module holds under its own name. "
            "Move it to the top of a module, or let it travel by value.",
            variable=name,
        )
    if by == "name":
        return _by_name(function, name, reference, args, kwargs)
    modules = _travelling_modules(function, by_value_modules)
    value, failure = (None, None) if by == "reference" else _dump_function(function, modules)
    if failure is not None and not reference:
        raise _not_serializable(function, name, modules) from failure
    arguments, failure = _dump_arguments(args, kwargs)
    if arguments is None:
        raise _argument_not_serializable(function, name, args, kwargs) from failure
    arguments_by_value = None
    if value is not None and any(module.encode() in arguments for module in modules):
        arguments_by_value, _ = _dump((args, dict(kwargs)), modules)
    return Packed(
        name=name,
        function=value,
        reference=reference,
        code_digest=code_digest(function) if reference and value is not None else "",
        arguments=arguments,
        arguments_by_value=None if arguments_by_value == arguments else arguments_by_value,
    )


def _by_name(
    function: Callable[..., Any], name: str, reference: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Packed:
    """Return a function by its name alone, with arguments that nobody has to unpickle."""
    for variable, value in named_arguments(function, args, kwargs):
        try:
            results.encode(value)
        except results.Unserializable as error:
            why = error.reason.removeprefix("result").strip()
            raise TaskNotSerializable(
                f'{variable} of task {name} cannot travel as data, as by="name" needs it: it {why}. Pass JSON data.',
                variable=variable,
            ) from None
    return Packed(
        name=name,
        function=None,
        reference=reference,
        code_digest="",
        arguments=results.encode((args, dict(kwargs))).encode("ascii"),
        arguments_by_value=None,
    )


def is_data(arguments: bytes) -> bool:
    """Return whether arguments are JSON text, which is read without unpickling. No pickle of ours begins so."""
    return arguments.startswith(b"{")


def _travelling_modules(function: Callable[..., Any], by_value_modules: Sequence[str]) -> tuple[str, ...]:
    for name in by_value_modules:
        if name not in sys.modules:
            raise InvalidParameter(f"by_value_modules names {name!r}, which is not imported; import it first")
    own = tuple([name for name in modules_of(function) if name != "__main__" and name in sys.modules])
    return tuple(dict.fromkeys([*by_value_modules, *own])) if by_value_modules or len(own) > 1 else own


def _dump_function(function: object, modules: tuple[str, ...]) -> tuple[bytes | None, Exception | None]:
    if (known := _pickled.get(function, modules)) is not None:
        return known, None
    data, failure = _dump(function, modules)
    if data is not None:
        _pickled.keep(function, modules, data)
    return data, failure


_pickled = PickledFunctions()
_PLAIN = {int, float, complex, str, bytes, bool, type(None)}


def _dump_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[bytes | None, Exception | None]:
    if _PLAIN.issuperset(map(type, args)) and _PLAIN.issuperset(map(type, kwargs.values())):
        # Where there is no code to look for, cloudpickle would write the same, and take ten times as long.
        return pickle.dumps((args, dict(kwargs)), cloudpickle.DEFAULT_PROTOCOL), None
    return _dump((args, dict(kwargs)), ())


def _dump(value: object, by_value_modules: Sequence[str]) -> tuple[bytes | None, Exception | None]:
    """Pickle `value`, with modules that travel by value. cloudpickle keeps those for the process, hence the lock."""
    with _registry_lock:
        modules = _register(by_value_modules) if by_value_modules else ()
        try:
            return cloudpickle.dumps(value), None
        except Exception as error:  # noqa: BLE001 - objects may raise anything while they are pickled
            return None, error
        finally:
            _unregister(modules)


_registry_lock = threading.RLock()
_registered: list[ModuleType] = []
"""What `_register` has registered and `_unregister` has not taken back yet."""


def _register(module_names: Sequence[str]) -> list[ModuleType]:
    """Let modules travel by value; return those that did not before."""
    already = cloudpickle.list_registry_pickle_by_value()
    modules = [sys.modules[name] for name in module_names if name not in already]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
        _registered.append(module)
    return modules


def _unregister(modules: Iterable[ModuleType]) -> None:
    for module in modules:
        if module in _registered:  # else this is a fork, which has taken it back already
            _registered.remove(module)
            cloudpickle.unregister_pickle_by_value(module)


def _renew_in_fork() -> None:
    """Make the lock anew, and take back what a thread of the parent had registered for a moment."""
    global _registry_lock  # noqa: PLW0603 - the one lock of this process
    _registry_lock = threading.RLock()
    _unregister(list(_registered))


forks.call_in_fork(_renew_in_fork)


def _not_serializable(function: Callable[..., Any], name: str, modules: Sequence[str]) -> TaskNotSerializable:
    for variable, value in captured(function):
        _, failure = _dump(value, modules)
        if failure is not None:
            return TaskNotSerializable(
                f"task {name} cannot travel: its {variable} ({type(value).__qualname__}) cannot be pickled"
                f"{_reason(failure)}. Create it inside the function, or move the function to a module that the "
                "service can import.",
                variable=variable,
            )
    return TaskNotSerializable(f"task {name} cannot be pickled; move it to a module", variable=name)


def _reason(failure: Exception) -> str:
    """Return what kind of object stood in the way, where pickle says just that: other texts may show values."""
    text = str(failure) if type(failure) is TypeError else ""
    return f": {text}" if re.fullmatch(r"cannot pickle '[\w.]+' object", text) else f" ({type(failure).__name__})"


def _argument_not_serializable(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> TaskNotSerializable:
    for variable, value in named_arguments(function, args, kwargs):
        _, failure = _dump(value, ())
        if failure is not None:
            return TaskNotSerializable(
                f"{variable} of task {name} ({type(value).__qualname__}) cannot be pickled{_reason(failure)}. "
                "Pass what it can be made from (a path, an id), and make it inside the function.",
                variable=variable,
            )
    return TaskNotSerializable(f"the arguments of task {name} cannot be pickled together", variable="arguments")


# --- loading, in the service ------------------------------------------------------------------------------------------


def load(task: Verified) -> Loaded:
    """Unpickle the function and arguments of a task, or import the function. This runs code of the sender.

    Only what was verified is taken, whatever the type checker was told.

    Raises:
        TypeError: the task is not verified; nothing of it was looked at.
        PayloadError: TASK_NOT_IMPORTABLE, PYTHON_MISMATCH or BAD_PAYLOAD; the task's own code has not run.
    """
    if type(task) is not Verified:
        raise TypeError("only a verified task is unpickled")
    function, why_not = _by_reference(task) if task.reference else (None, "")
    if function is not None:
        args, kwargs = _load_arguments(task.arguments)
        return Loaded(function=function, args=args, kwargs=kwargs)
    if task.function is None:
        raise PayloadError(Code.TASK_NOT_IMPORTABLE, why_not)
    _check_python(task)
    function = _functions.load(task.function)
    args, kwargs = _load_arguments(task.arguments if task.arguments_by_value is None else task.arguments_by_value)
    return Loaded(function=function, args=args, kwargs=kwargs)


def _by_reference(task: TaskSpec) -> tuple[Callable[..., Any] | None, str]:
    """Return the function that the reference gives, or None and the reason."""
    module_name, _, qualname = task.reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001 - importing runs the module, which may raise anything
        return None, (
            f"the task {task.name} travels by reference, and this service cannot import module {module_name!r} "
            f"({type(error).__name__}: {error}). Install it where the service runs."
        )
    for part in qualname.split("."):
        found = getattr(found, part, None)
    function: Any = plain(found)
    if not callable(function):
        return None, f"module {module_name!r} of this service has no function {qualname!r}"
    if task.code_digest and code_digest(function) != task.code_digest:
        return None, f"module {module_name!r} of this service holds other code for {qualname!r}"
    return function, ""


def _check_python(task: TaskSpec) -> None:
    sent, own = task.python.split(".")[:2], PYTHON_VERSION.split(".")[:2]
    if sent != own:
        raise PayloadError(
            Code.PYTHON_MISMATCH,
            f"the code of task {task.name} was pickled by Python {task.python}, and this service runs "
            f"{PYTHON_VERSION}: bytecode differs. Use the same minor version, or let the task travel by reference.",
        )


def _loads(data: bytes, what: str) -> Any:
    try:
        return cloudpickle.loads(data)
    except ModuleNotFoundError as error:
        raise PayloadError(
            Code.TASK_NOT_IMPORTABLE,
            f"the {what} of the task needs module {error.name!r}, which this service cannot import. Install it where "
            "the service runs, or name it in by_value_modules of the task.",
        ) from error
    except Exception as error:
        raise PayloadError(
            Code.BAD_PAYLOAD, f"the {what} of the task cannot be unpickled ({type(error).__name__}: {error})"
        ) from error


def _load_arguments(data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    match _data(data) if is_data(data) else _loads(data, "arguments"):
        case (tuple() as args, dict() as kwargs):
            return args, kwargs
        case _:
            raise PayloadError(Code.BAD_PAYLOAD, "the arguments of the task are not a tuple and a dict")


def _data(data: bytes) -> Any:
    try:
        return results.decode(data.decode("ascii"))
    except (UnicodeDecodeError, MessageRejected) as error:
        raise PayloadError(Code.BAD_PAYLOAD, f"the arguments of the task are no data ({error})") from error


class _FunctionCache:
    """Functions by the hash of their pickle, so that one sent a thousand times is unpickled once.

    Only functions without changeable state are kept: what a run changes in a function's globals or closure is gone
    with the run, since each launch carries the state of its own moment.
    """

    def __init__(self, kept_max: int) -> None:
        self._kept: OrderedDict[bytes, Callable[..., Any]] = OrderedDict()
        self._kept_max = kept_max
        self._lock = threading.Lock()
        forks.renew(self)

    def renew_in_fork(self) -> None:
        """Make the lock anew."""
        self._lock = threading.Lock()

    def load(self, data: bytes) -> Callable[..., Any]:
        """Return the function that `data` holds. Raises PayloadError."""
        key = hashlib.sha256(data).digest()
        with self._lock:
            if (known := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return known
        function = _loads(data, "function")
        if not callable(function):
            raise PayloadError(Code.BAD_PAYLOAD, f"the function of the task is a {type(function).__qualname__}")
        if is_stateless(function):
            with self._lock:
                self._kept[key] = function
                if len(self._kept) > self._kept_max:
                    self._kept.popitem(last=False)
        return function  # type: ignore[no-any-return]  # what was pickled is known by `callable` only


_functions = _FunctionCache(_FUNCTIONS_KEPT_MAX)

# --- for programs of 1.0.0 -------------------------------------------------------------------------------------------


def dumps(value: object) -> bytes:
    """Pickle anything that cloudpickle can."""
    data: bytes = cloudpickle.dumps(value)
    return data


def arguments_of(data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that this process has packed by itself a moment ago. Raises PayloadError."""
    return _load_arguments(data)


def loads(data: bytes) -> Any:
    """Unpickle. This runs code of whoever pickled: never on what may come from strangers."""
    return cloudpickle.loads(data)

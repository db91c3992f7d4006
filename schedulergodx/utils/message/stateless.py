"""Whether a function can be kept and used again, since running it changes nothing that it holds."""

from __future__ import annotations

import dis
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

from schedulergodx.utils.message.functions import names_in, plain

_CONSTANTS = (int, float, complex, str, bytes, bool, type(None), ModuleType, BuiltinFunctionType)


def is_stateless(value: object, seen: set[int] | None = None) -> bool:
    """Return whether nothing that `value` holds can be changed by running it. `seen`: ids already looked at."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return True
    seen.add(id(value))
    value = plain(value)
    if isinstance(value, (tuple, frozenset)):
        return all(is_stateless(item, seen) for item in value)
    if isinstance(value, type):
        # A class that came by value is the payload's own; one of a module is shared with everybody else there.
        return getattr(sys.modules.get(value.__module__), value.__name__, None) is value
    if isinstance(value, FunctionType):
        return not value.__dict__ and not _may_rebind(value.__code__) and _holds_only_stateless(value, seen)
    return isinstance(value, _CONSTANTS) or getattr(value, "__schedulergodx_stateless__", False)


def _holds_only_stateless(function: FunctionType, seen: set[int]) -> bool:
    # A module in sys.modules owns its globals; those of a function that came by value belong to that function.
    if function.__globals__ is getattr(sys.modules.get(function.__module__), "__dict__", None):
        return True
    names = names_in(function.__code__) & function.__globals__.keys()
    held: list[object] = [function.__globals__[name] for name in names]
    held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    held += [cell.cell_contents for cell in function.__closure__ or ()]
    return all(is_stateless(item, seen) for item in held)


def _may_rebind(code: CodeType) -> bool:
    """Return whether the code may assign to globals, to an enclosing function's variables, or to attributes."""
    if not _REBINDING_NAMES.isdisjoint(code.co_names):
        return True
    for step in dis.get_instructions(code):
        if step.opname in _REBINDING or (step.opname in _REBINDING_FREE and step.argval in code.co_freevars):
            return True
    return any(_may_rebind(constant) for constant in code.co_consts if isinstance(constant, CodeType))


# An attribute may be one of the function itself. Often it is one of a local object; then it is unpickled each time
# without need, which costs time but is never wrong.
_REBINDING = {"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR"}
_REBINDING_FREE = {"STORE_DEREF", "DELETE_DEREF"}
_REBINDING_NAMES = frozenset({"globals", "vars", "setattr", "delattr", "exec", "eval", "__dict__", "__globals__"})

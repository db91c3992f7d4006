"""Reading pickles without loading them: which names of which modules they need."""

from __future__ import annotations

import functools
import pickletools
import re
from typing import Any, cast

CLOCKS = frozenset({"freezegun", "time_machine"})
"""Packages that replace the clock, and put classes of their own where there were datetimes."""
TEST_ONLY = CLOCKS | {"_pytest", "hypothesis", "mock", "pytest", "schedulergodx_testing", "unittest"}
"""Top-level packages that are there in tests, and that no service should need."""

_TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_SILENT = frozenset({"PROTO", "FRAME"})
_NEW_PROTOCOLS = (b"\x80\x04", b"\x80\x05")
_NEEDS_CODE = re.compile(rb"[\x82-\x84\x93]")
"""The opcodes with which these find an object of a module: EXT1, EXT2, EXT4 and STACK_GLOBAL."""


def needs(data: bytes) -> list[tuple[str, str]]:
    """Return `(module, qualified name)` of every global that loading `data` looks up, once each, in their order.

    Only what pickles of Python itself and of cloudpickle contain is followed; nothing of it is imported.
    """
    found: dict[tuple[str, str], None] = {}
    memo: dict[int, Any] = {}
    last: list[Any] = [None, None]  # the two topmost things of the stack, where they are texts
    for opcode, value, _ in pickletools.genops(data):
        name, argument = opcode.name, cast("Any", value)
        if name in _TEXTS:
            last = [last[1], argument]
        elif name == "MEMOIZE":
            memo[len(memo)] = last[1]
        elif name in _PUTS:
            memo[argument] = last[1]
        elif name in _GETS:
            last = [last[1], memo.get(argument)]
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            found[module, attribute] = None
            last = [None, None]
        elif name == "STACK_GLOBAL":
            if isinstance(last[0], str) and isinstance(last[1], str):
                found[last[0], last[1]] = None
            last = [None, None]
        elif name not in _SILENT:
            last = [last[1], None]
    return list(found)


def is_plain(data: bytes) -> bool:
    """Return whether a pickle of this process needs no module at all: to load it runs no code.

    It errs in one direction only: some plain ones are not seen as such.
    """
    return data.startswith(_NEW_PROTOCOLS) and _NEEDS_CODE.search(data) is None


def only_in_tests(data: bytes, packages: frozenset[str] = TEST_ONLY) -> list[str]:
    """Return the names in a pickle that belong to such packages, e.g. `freezegun.api.FakeDatetime`."""
    for package in _encoded(packages):  # quick, and never wrong about absence
        if package in data:
            break
    else:
        return []
    return [f"{module}.{name}" for module, name in needs(data) if module.partition(".")[0] in packages]


@functools.cache
def _encoded(packages: frozenset[str]) -> tuple[bytes, ...]:
    return tuple(package.encode() for package in packages)


def advice_for(name: str) -> str:
    """Return what to do about a name that exists in tests only."""
    package = name.partition(".")[0]
    if package in CLOCKS:
        return (
            f"{package} puts its own datetimes into what you launch, and a service without {package} "
            "cannot load them. Leave it out of this test: a harness moves time itself, with values of the real types"
        )
    return f"pass plain data instead of what {package} makes: a service does not have it"

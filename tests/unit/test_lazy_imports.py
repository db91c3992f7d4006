"""Importing the library is quick: what a program does not use is not loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import schedulergodx
import schedulergodx.utils
from schedulergodx.lazy import importer

_SERVICE = """
from schedulergodx import Service, transport
Service(url="amqp://localhost")
transport.connect("amqp://localhost", name="service")
"""
_NOT_OF_A_SERVICE = {
    "argparse",
    "email",
    "http",
    "logging.config",
    "multiprocessing",
    "schedulergodx.cli",
    "schedulergodx.client",
    "schedulergodx.service.runner.forkserver",
    "schedulergodx.service.runner.worker",
    "schedulergodx.transport.sqlite",
    "unittest",
    "xml",
}
_LOADED = "{}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded_by(program: str) -> set[str]:
    """Return the modules that a fresh interpreter has after `program`."""
    done = subprocess.run([sys.executable, "-c", _LOADED.format(program)], capture_output=True, check=True, timeout=30)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("program", "needless"),
    [
        ("import schedulergodx", {"schedulergodx.client", "schedulergodx.service", "schedulergodx.utils", "pika"}),
        ("import schedulergodx.cli", {"schedulergodx.client", "schedulergodx.service", "argparse", "pika"}),
        ("import schedulergodx.client", {"schedulergodx.service", "pika", "sqlite3", "asyncio"}),
        ("import schedulergodx.service.runner.forkserver", {"schedulergodx.service.core", "sqlite3", "pika"}),
        (_SERVICE, _NOT_OF_A_SERVICE),
        ("from schedulergodx.utils import RmqConnect", {"schedulergodx.utils.message", "pika", "sqlite3"}),
    ],
)
def test_what_is_not_used_is_not_loaded(program: str, needless: set[str]) -> None:
    """The command line is there for Ctrl-C before the rest is loaded, and who only sends waits for no service."""
    assert not needless & loaded_by(program)


@pytest.mark.parametrize("package", [schedulergodx, schedulergodx.utils])
def test_every_public_name_is_there(package: object) -> None:
    """Each name of `__all__` can be had and is listed, whether it was loaded or not."""
    names = vars(package)["__all__"]
    assert all(getattr(package, name) is not None for name in names)
    assert set(names) <= set(dir(package))


def test_the_halves_are_attributes_of_the_package() -> None:
    """After `import schedulergodx` alone, `schedulergodx.client.Client` works, as it did in 1.0.0."""
    program = (
        "import schedulergodx as s; assert s.client.Client is s.Client and s.service.Service is s.Service; s.utils"
    )
    assert "schedulergodx.client.core" in loaded_by(program)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module, so that `hasattr` and `from … import` say what they always say."""
    with pytest.raises(AttributeError, match="module 'schedulergodx' has no attribute 'Clinet'"):
        schedulergodx.Clinet  # type: ignore[attr-defined]  # noqa: B018 - asked for to be refused
    with pytest.raises(ImportError, match="cannot import name 'Clinet'"):
        exec("from schedulergodx import Clinet")


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first time it is an ordinary attribute."""
    monkeypatch.delattr(schedulergodx.utils, "DB", raising=False)
    found = importer("schedulergodx.utils", {"DB": "schedulergodx.utils.storage"})("DB")
    assert vars(schedulergodx.utils)["DB"] is found

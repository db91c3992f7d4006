"""What a machine of a user overrides must call what it overrides: else its harness is not opened, or not closed."""

from __future__ import annotations

import sys
from functools import wraps
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

_WATCHED = "_schedulergodx_is_watched"


def watch(machine: Any, own: Any) -> None:
    """Have `__init__` and `teardown` of a machine's class checked, where they are not those of the class `own`.

    A class that inherits them may do so from beside `own`, so what it has is looked at, and not what it defines.
    """
    for name, watching in (("__init__", _beginning), ("teardown", _ending)):
        function = getattr(machine, name)
        if function is not getattr(own, name) and not hasattr(function, _WATCHED):
            watched = watching(function)
            setattr(watched, _WATCHED, True)
            setattr(machine, name, watched)


def _beginning(function: Callable[..., None]) -> Callable[..., None]:
    """Return an `__init__` that refuses to leave a machine without a harness, and an open harness without a machine."""

    @wraps(function)
    def begin(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            function(self, *args, **kwargs)
        except BaseException:
            self._close()
            raise
        if not self._is_open:
            raise HarnessError(
                f"{function.__qualname__} does not call super().__init__(), which opens the harness: prepare what your "
                "rules need in setup(), or call it first"
            )

    return begin


def _ending(function: Callable[..., None]) -> Callable[..., None]:
    """Return a `teardown` after which the harness is closed, and that says so when it had to do that itself."""

    @wraps(function)
    def end(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            function(self, *args, **kwargs)
            if self._is_open and sys.exc_info()[0] is None:  # else the story has failed, which goes first
                raise HarnessError(
                    f"{function.__qualname__} does not call super().teardown(), which lets the story end, checks what "
                    "must hold then, and closes the harness: call it"
                )
        finally:
            self._close()

    return end

"""What can go wrong beside the broker: `Harness.faults`. Faults of the broker are those of `MemoryBroker.faults`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx_testing.served import Served
    from schedulergodx_testing.storage import StorageFault


class HarnessFaults:
    """Faults of the databases of a harness's services. They stay armed over stops, crashes and starts."""

    def __init__(self, served: Callable[[int], Served]) -> None:
        self._served = served

    def fail_storage(self, at: int = 1, error: StorageFault = "full", *, once: bool = True, service: int = 0) -> None:
        """Make the `at`-th call of a service to its database fail, counted from now; see `FaultyStorage`.

        The service acks nothing meanwhile, and tries again after pauses of 0.5 s to 30 s.

        Args:
            at: which call, from 1 on.
            error: "full", "busy", "readonly" or "ioerr".
            once: only that call; else all from it on, until `heal_storage`.
            service: the how manieth service, from 0.

        Raises:
            InvalidParameter: `at` or `error` is none of these.
            HarnessError: there is no service of that number.
        """
        self._served(service).storage.fail(at, error, once=once)

    def heal_storage(self, service: int = 0) -> None:
        """Let the database work again; what was armed and has not happened is forgotten.

        Raises:
            HarnessError: there is no service of that number.
        """
        self._served(service).storage.heal()

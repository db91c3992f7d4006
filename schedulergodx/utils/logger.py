"""Logging through the standard library, configured by `LoggerConstructor` as in 1.0.0.

Nothing is installed on the root logger, and no file is written unless it is asked for. Lines hold message ids, names of
tasks and addresses of brokers; never arguments, results, keys or passwords.
"""

from __future__ import annotations

import logging
import os
from logging import FileHandler, Filter, Formatter, Handler, Logger, LoggerAdapter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import TextIOWrapper
    from pathlib import Path

LINE_FORMAT = "%(asctime)s - %(levelname)s - %(name)s:%(message)s"


class LoggerConstructor:
    """A logger of the standard library, with its file if one is wanted.

    Whatever a `logging.Logger` offers (`info`, `setLevel`, …) can be called on it directly.

    Args:
        name: name of the logger, as for `logging.getLogger`.
        log_file: a file to append lines to; None writes none. One file gets each line once, however often it is named.
            It is made with mode 0600; one that exists keeps its mode.
        log_level: the least level that is logged; None leaves that to the program's own configuration.
    """

    def __init__(
        self,
        name: str = "schedulergodx",
        log_file: str | Path | None = None,
        log_level: int | str | None = logging.INFO,
    ) -> None:
        self.logger = logging.getLogger(name)
        if log_level is not None:
            self.logger.setLevel(log_level)
        if log_file is not None and not self._writes(log_file):
            handler = _PrivateFileHandler(log_file, encoding="utf-8")
            handler.setFormatter(Formatter(LINE_FORMAT))
            self.logger.addHandler(handler)

    def _writes(self, log_file: str | Path) -> bool:
        """Return whether the logger writes this file already: a second handler would double its lines."""
        path = os.path.abspath(log_file)  # noqa: PTH100 - written as FileHandler writes it, without `..`
        return any(isinstance(one, FileHandler) and one.baseFilename == path for one in self.logger.handlers)

    @staticmethod
    def log_levels(logger: Logger) -> dict[str, Callable[..., None]]:
        """Return the logging methods of `logger` by the name of their level."""
        return {
            "debug": logger.debug,
            "info": logger.info,
            "warning": logger.warning,
            "error": logger.error,
            "critical": logger.critical,
            "fatal": logger.critical,
        }

    def addHandler(self, hdlr: Handler) -> None:  # noqa: N802 - the name that logging uses
        """Send lines to `hdlr`, too."""
        self.logger.addHandler(hdlr)

    def addFilter(self, filter: Filter) -> None:  # noqa: A002, N802 - the names of 1.0.0
        """Log only what `filter` lets through."""
        self.logger.addFilter(filter)

    def getLogger(self) -> Logger:  # noqa: N802 - the name of 1.0.0
        """Return the logger itself."""
        return self.logger

    def __getattr__(self, name: str) -> Any:
        """Offer everything else that the logger has."""
        if name == "logger":  # not there yet: while unpickling or copying
            raise AttributeError(name)
        return getattr(self.logger, name)


class _PrivateFileHandler(FileHandler):
    """Makes its file for this user alone: lines name tasks, clients and brokers."""

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=private)


class CoreLogger(LoggerAdapter[Logger]):
    """The logger of a client or service, with the name of its core before each line, as in 1.0.0: `core - line`."""

    def __init__(self, logger: Logger, core_name: str) -> None:
        super().__init__(logger, {})
        self._core_name = core_name

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a line, as `logging.Logger.log` does."""
        if self.logger.isEnabledFor(level):
            text = str(msg) if args else str(msg).replace("%", "%%")  # without facts, nothing is filled in
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # the place of a line is where it was written
            self.logger.log(level, f"%s - {text}", self._core_name, *args, **kwargs)  # noqa: G004 - `text` is the format

"""What every kind of test broker offers. The kinds differ only in how commands reach the broker."""

import json
import secrets
import types
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Self
from urllib.parse import quote

from schedulergodx_testing.rabbitmq.tls import TLSFiles
from schedulergodx_testing.rabbitmq.waiting import free_port, greeting_version, wait_until

START_TIMEOUT_S = 60.0
ALARM_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60
"""What a command has to end; then it is given up."""
TIMED_OUT = 124
"""The exit code of a command that does not end in time, as that of `timeout`."""

# Above any real use, so that switching an alarm off always ends it, whatever the image's own default is.
_WATERMARK_OFF = "0.6"

# Where declarations are not kept by Mnesia, as in newer versions, there is nothing to wait for.
_FLUSH = "catch mnesia:sync_log()"

# What `erl_call` answers with a value, and says when it reached the node: then the expression may have done something.
_GOOD = "{ok, "
_EVALUATED = "evaluating input failed"

_Life = Literal["new", "running", "paused", "down", "closed"]


class RabbitMQUnavailable(Exception):
    """No RabbitMQ of this kind can be had here; the message is one line and says what to do."""


class RabbitMQCommandFailed(Exception):
    """A `rabbitmqctl` command ended with an error, or not within 60 s: then it was given up, and may go on.

    `arguments` are those of the command, `exit_code` its exit code (124 for one that was given up), `output` what it
    wrote.
    """

    def __init__(self, arguments: tuple[str, ...], exit_code: int, output: str) -> None:
        self.arguments = arguments
        self.exit_code = exit_code
        self.output = output
        end = f"was given up after {COMMAND_TIMEOUT_S} s" if exit_code == TIMED_OUT else f"ended with {exit_code}"
        super().__init__(f"rabbitmqctl {' '.join(arguments)} {end}: {output.strip()}")


class NotControllable(NotImplementedError):
    """This broker belongs to somebody else: it can be used, but not stopped, cut or configured."""


class RabbitMQ(ABC):
    """A RabbitMQ for tests, used as a context manager; entering starts it, leaving removes it.

    Everything here is to be called from one thread at a time. `start()`, `stop()`, `kill()` and
    `restart()` keep the port and what is stored; `close()` is the end of both.
    """

    is_controllable: bool = True
    """Whether the helpers work. False for a broker given by its URL; they raise NotControllable then."""

    user: str = "guest"
    password: str = "guest"  # noqa: S105 - RabbitMQ's own default, on a broker that only tests reach

    def __init__(self, tls: TLSFiles | None = None) -> None:
        self._life: _Life = "new"
        self._has_alarm = False
        self._tls = tls
        self._tls_port = None if tls is None else free_port()

    # Where it is

    @property
    @abstractmethod
    def host(self) -> str:
        """The address at which clients reach it."""

    @property
    @abstractmethod
    def port(self) -> int:
        """The TCP port at which clients reach it; the same for as long as this object lives."""

    @property
    def tls_port(self) -> int:
        """The TCP port at which clients reach it with TLS.

        Raises:
            RabbitMQUnavailable: it was made without `tls`.
        """
        if self._tls_port is None:
            raise RabbitMQUnavailable("this RabbitMQ was made without TLS; give it TLSFiles")
        return self._tls_port

    @property
    def url(self) -> str:
        """The AMQP URL of the default virtual host."""
        return self.url_for("/")

    def url_for(
        self, vhost: str, *, user: str | None = None, password: str | None = None, with_tls: bool = False
    ) -> str:
        """Return the AMQP URL of a virtual host; None means the broker's own test user.

        With TLS, `?cafile=…` is still to be added, unless the system trusts the certificate.
        """
        name = quote(self.user if user is None else user, safe="")
        secret = quote(self.password if password is None else password, safe="")
        scheme, port = ("amqps", self.tls_port) if with_tls else ("amqp", self.port)
        return f"{scheme}://{name}:{secret}@{self.host}:{port}/{quote(vhost, safe='')}"

    @property
    def version(self) -> str:
        """The version of RabbitMQ, as the server says it.

        Raises:
            RabbitMQUnavailable: it does not answer.
        """
        version = greeting_version(self.host, self.port)
        if version is None:
            raise RabbitMQUnavailable(f"no RabbitMQ answers at {self.host}:{self.port}")
        return version

    # Its life

    def start(self) -> None:
        """Start it, the first time or after `stop()` or `kill()`, and wait until it serves clients.

        Nothing happens when it runs. At most 60 s.

        Raises:
            TimeoutError: it was started but does not serve clients.
            RabbitMQUnavailable: it cannot be started here, or it was closed.
        """
        if self._life == "closed":
            raise RabbitMQUnavailable("this RabbitMQ was closed; make a new one")
        if self._life in ("new", "down"):
            self._start()
            self._life = "running"
            self._has_alarm = False
            self._wait_until_serving()

    def stop(self) -> None:
        """End it in order, keeping what is stored; nothing happens when it is down."""
        if self._life == "paused":
            self.unpause()
        if self._life == "running":
            self._stop()
            self._life = "down"

    def restart(self) -> None:
        """Stop it in order and start it again, on the same port and with what was stored."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End it at once, with no chance to tidy up, keeping what is stored; `start()` brings it back.

        RabbitMQ 3.10 writes declarations to disk a moment after it confirms them: a queue declared just
        before the kill was lost in one of eight tries, with the confirmed message in it. `flush()` avoids it.
        """
        if self._life in ("running", "paused"):
            self._kill()
            self._life = "down"

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing is answered, until `unpause()`."""
        if self._life == "running":
            self._pause()
            self._life = "paused"

    def unpause(self) -> None:
        """Let a frozen broker go on; nothing happens when it is not frozen."""
        if self._life == "paused":
            self._unpause()
            self._life = "running"

    def heal(self) -> None:
        """Bring it back to normal after a test: running, not frozen, without an alarm."""
        self.unpause()
        if self._life == "running" and greeting_version(self.host, self.port) is None:
            self.kill()  # it ended in a way that no helper knows of
        if self._life == "down":
            self.start()
        if self._has_alarm:
            self.memory_alarm(False)

    def close(self) -> None:
        """End it and remove everything it stored; may be called again."""
        if self._life != "closed":
            self._life = "closed"
            self._close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()

    # What a test does to it

    @abstractmethod
    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` with these arguments and return what it wrote to its standard output.

        Raises:
            RabbitMQCommandFailed: it ended with an error, or took over 60 s.
            NotControllable: this broker was only given by its URL.
        """

    def evaluate(self, expression: str) -> str:
        """Evaluate Erlang inside the broker and return its value as text. ASCII, with no full stop at the end.

        Where Erlang's `erl_call` is, as beside Debian's and the official broker, it takes a tenth of the time
        of `rabbitmqctl`, which is used elsewhere.

        Raises:
            RabbitMQCommandFailed: it cannot be evaluated, ended with an error, ended the broker, or took over 60 s.
            NotControllable: this broker was only given by its URL.
        """
        exit_code, text, errors = self._erl_call(f"{expression}.\n")
        if exit_code == 0 and text.startswith(_GOOD) and text.endswith("}"):
            return text[len(_GOOD) : -1]
        if exit_code in (0, TIMED_OUT) or _EVALUATED in errors:
            raise RabbitMQCommandFailed(("eval", expression), exit_code or 1, text + errors)
        return self.ctl("--quiet", "eval", f"{expression}.").strip()

    def flush(self) -> None:
        """Wait until every queue, exchange, binding and user declared so far would survive `kill()`."""
        self.evaluate(_FLUSH)

    def memory_alarm(self, on: bool) -> None:
        """Raise the memory alarm, which blocks everyone who publishes, or end it; waits until it is so."""
        watermark = "0.0" if on else _WATERMARK_OFF
        self.evaluate(f"vm_memory_monitor:set_vm_memory_high_watermark({watermark})")
        self._has_alarm = on
        wait_until(
            lambda: ("memory" in self.evaluate("rabbit_alarm:get_alarms()")) == on,
            f"the memory alarm to be {'on' if on else 'off'}",
            timeout_s=ALARM_TIMEOUT_S,
        )

    def max_message_bytes(self, limit: int) -> int:
        """Have larger messages refused on connections made from now on, until a restart; return the limit before."""
        before = self.evaluate("application:get_env(rabbit, max_message_size, 134217728)")
        # RabbitMQ 3.10 reads the one, newer ones the other.
        change = (
            f"application:set_env(rabbit, max_message_size, {limit}), persistent_term:put(max_message_size, {limit})"
        )
        self.evaluate(change)
        return int(before)

    def delete_queue(self, name: str, vhost: str = "/") -> None:
        """Delete a queue with all that is in it, under its consumers."""
        self.ctl("--vhost", vhost, "delete_queue", name)

    def close_connections(self) -> None:
        """Close every client connection from the broker's side; clients may come back at once."""
        self.evaluate('rabbit_networking:close_connections(rabbit_networking:connections(), "closed by a test")')

    def queues(self, vhost: str = "/") -> dict[str, tuple[int, int]]:
        """Return every queue of a virtual host as name to (ready, unacknowledged) messages."""
        columns = ("name", "messages_ready", "messages_unacknowledged")
        text = self.ctl("--vhost", vhost, "--quiet", "--formatter", "json", "list_queues", *columns)
        return {str(row[columns[0]]): (int(row[columns[1]]), int(row[columns[2]])) for row in json.loads(text)}

    def add_vhost(self, name: str) -> str:
        """Create a virtual host, give the broker's test user every permission there, return its URL."""
        vhost, user, everything = map(_erlang_binary, (name, self.user, ".*"))
        # Every test makes a virtual host, so it is one command instead of three.
        self.evaluate(
            f"ok = rabbit_vhost:add({vhost}, {user}), "
            f"ok = rabbit_auth_backend_internal:set_permissions({user}, {vhost}, {everything}, {everything}, "
            f"{everything}, {user}), {_FLUSH}"
        )
        return self.url_for(name)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with its queues; its connections are closed by the broker."""
        vhost, user = map(_erlang_binary, (name, self.user))
        self.evaluate(f"rabbit_vhost:delete({vhost}, {user})")

    def add_user(self, name: str, password: str) -> None:
        """Create a user without any permission."""
        self.ctl("add_user", name, password)

    def set_permissions(
        self, user: str, *, vhost: str = "/", configure: str = ".*", write: str = ".*", read: str = ".*"
    ) -> None:
        """Allow a user what the three patterns match in a virtual host; an empty pattern allows nothing."""
        self.ctl("--vhost", vhost, "set_permissions", user, configure, write, read)

    @contextmanager
    def private_vhost(self) -> Iterator[str]:
        """Give the URL of a new virtual host, removed at the end; heals the broker before and after.

        On a broker that is not controllable it is the URL of the broker itself.
        """
        if not self.is_controllable:
            yield self.url
            return
        self.heal()
        name = f"test-{secrets.token_hex(6)}"
        url = self.add_vhost(name)
        try:
            yield url
        finally:
            self.heal()
            self.delete_vhost(name)

    # What the kinds do in their own way

    @abstractmethod
    def _erl_call(self, expression: str) -> tuple[int, str, str]:
        """Give an expression to `erl_call -e`; return exit code, output and errors. Not 0 where there is none."""

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _stop(self) -> None: ...

    @abstractmethod
    def _kill(self) -> None: ...

    @abstractmethod
    def _pause(self) -> None: ...

    @abstractmethod
    def _unpause(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _raise_if_dead(self) -> None:
        """Raise RabbitMQUnavailable when it ended by itself while it was starting."""

    def _wait_until_serving(self) -> None:
        def serves() -> bool:
            self._raise_if_dead()
            return greeting_version(self.host, self.port) is not None

        wait_until(serves, f"RabbitMQ to serve clients at {self.host}:{self.port}", timeout_s=START_TIMEOUT_S)
        if self._tls is not None:
            self.ctl("await_startup")  # the port for TLS opens after the other one


def _erlang_binary(text: str) -> str:
    """Return a text as an Erlang binary of numbers, in which nothing needs quoting."""
    return f"<<{','.join(map(str, text.encode()))}>>"

"""A private RabbitMQ node from the `rabbitmq-server` of this machine, in a temporary folder."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from schedulergodx_testing.rabbitmq.broker import (
    COMMAND_TIMEOUT_S,
    TIMED_OUT,
    RabbitMQ,
    RabbitMQCommandFailed,
    RabbitMQUnavailable,
)
from schedulergodx_testing.rabbitmq.tls import TLSFiles
from schedulergodx_testing.rabbitmq.waiting import LOOPBACK, free_port, wait_until

STOP_TIMEOUT_S = 30.0

# Debian's commands on PATH switch to the user rabbitmq and refuse everybody but root; those in the first
# folder are RabbitMQ's own and run as whoever calls them. Homebrew's are the last two.
_FOLDERS: Final = (
    "/usr/lib/rabbitmq/bin",
    *os.get_exec_path(),
    "/usr/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/sbin",
)
_LAST_LINES: Final = 5
_NOT_FOUND: Final = 127


def find_command(name: str, folders: Iterable[str] = _FOLDERS) -> Path | None:
    """Return the first executable file of this name in the folders, None when there is none."""
    # A folder that this user may not look into is passed over.
    found = shutil.which(name, path=os.pathsep.join(folders))
    return None if found is None else Path(found)


class LocalRabbitMQ(RabbitMQ):
    """A RabbitMQ node of our own: free loopback ports, files, cookie and name service in a temporary folder.

    It disturbs no other RabbitMQ on the machine, and needs neither root nor the user rabbitmq. With `tls` it speaks
    TLS too, at `tls_port`.

    Raises:
        RabbitMQUnavailable: no `rabbitmq-server` with its `rabbitmqctl`, or no Erlang `epmd`, is here.
    """

    def __init__(self, *, tls: TLSFiles | None = None) -> None:
        super().__init__(tls)
        server = find_command("rabbitmq-server")
        if server is None:
            raise RabbitMQUnavailable("no rabbitmq-server is installed")
        ctl = find_command("rabbitmqctl", [str(server.parent), *_FOLDERS])
        if ctl is None:
            raise RabbitMQUnavailable(f"{server} is here, but no rabbitmqctl")
        epmd = _find_of_erlang("epmd")
        if epmd is None:
            raise RabbitMQUnavailable(f"{server} is here, but no epmd of Erlang")
        self._server, self._ctl, self._epmd = server, ctl, epmd
        self._erl_call_command = _find_of_erlang("erl_call")
        self._port = free_port()
        self._folder: Path | None = None
        self._environment: dict[str, str] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def host(self) -> str:
        """Always the loopback address."""
        return LOOPBACK

    @property
    def port(self) -> int:
        """The TCP port, chosen when the object is made."""
        return self._port

    @property
    def log(self) -> str:
        """Everything the node wrote since its first start, for a person who looks for a reason."""
        output = None if self._folder is None else self._folder / "output"
        return output.read_text("utf-8", "replace") if output is not None and output.exists() else ""

    def ctl(self, *arguments: str) -> str:
        """Run the machine's `rabbitmqctl` on this node, as the user of this process; at most 60 s."""
        exit_code, output, errors = self._run(self._ctl, *arguments)
        if exit_code != 0:
            raise RabbitMQCommandFailed(arguments, exit_code, output + errors)
        return output

    def _erl_call(self, expression: str) -> tuple[int, str, str]:
        if self._erl_call_command is None:
            return _NOT_FOUND, "", "no erl_call"
        name = self._environment["RABBITMQ_NODENAME"]
        return self._run(self._erl_call_command, "-e", "-sname", name, given=expression)

    def _run(self, command: Path, *arguments: str, given: str = "") -> tuple[int, str, str]:
        try:
            ended = subprocess.run(  # noqa: S603 - a list, no shell, and the command was found by us
                [command, *arguments],
                env=self._environment,
                input=given.encode(),
                capture_output=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return TIMED_OUT, *_texts(late.stdout, late.stderr)
        return ended.returncode, *_texts(ended.stdout, ended.stderr)

    def _start(self) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="schedulergodx-rabbitmq-"))
            self._environment = self._make_environment(self._folder)
            self._spawn("epmd", [self._epmd, "-address", LOOPBACK, "-port", self._environment["ERL_EPMD_PORT"]])
            self._wait_for_epmd()
        self._spawn("node", [self._server])

    def _make_environment(self, folder: Path) -> dict[str, str]:
        (folder / "plugins").write_text("[].\n", "utf-8")
        settings = "" if self._tls is None else self._tls.settings(f"{LOOPBACK}:{self.tls_port}")
        (folder / "rabbitmq.conf").write_text(settings, "utf-8")
        (folder / "advanced.config").write_text("[].\n", "utf-8")
        # A setting meant for another node of this machine must not reach ours.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_", "NOTIFY_"))}
        return inherited | {
            "HOME": str(folder),  # where Erlang keeps the cookie: the user's own is not touched
            "LC_ALL": "C.UTF-8",  # names of queues are UTF-8, also in the arguments of rabbitmqctl
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": f"schedulergodx-{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"),
            "RABBITMQ_CTL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),  # does not exist: nothing is read
            # Makes the script become the broker instead of waiting for it, so that we hold its own pid.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _spawn(self, name: str, command: list[Path | str]) -> None:
        folder = self._folder
        if folder is None:
            raise RabbitMQUnavailable("this RabbitMQ has no folder yet; call start()")
        with (folder / "output").open("ab") as output:
            # A session of its own: Ctrl-C in the terminal is for the tests, not for the broker.
            self._processes[name] = subprocess.Popen(  # noqa: S603 - a list, no shell, found by us
                command,
                env=self._environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _wait_for_epmd(self) -> None:
        def answers() -> bool:
            if self._processes["epmd"].poll() is not None:
                raise RabbitMQUnavailable(f"epmd did not start: {self._last_words()}")
            asked = subprocess.run(  # noqa: S603 - a list, no shell, found by us
                [self._epmd, "-names"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
            return asked.returncode == 0

        wait_until(answers, "epmd to answer", timeout_s=STOP_TIMEOUT_S)

    def _raise_if_dead(self) -> None:
        code = self._processes["node"].poll()
        if code is not None:
            self._life = "down"
            raise RabbitMQUnavailable(f"rabbitmq-server ended with {code} at its start: {self._last_words()}")

    def _last_words(self) -> str:
        return " / ".join(self.log.strip().splitlines()[-_LAST_LINES:])

    def _stop(self) -> None:
        node = self._processes["node"]
        node.terminate()  # Erlang ends every application in order on SIGTERM
        _end(node)

    def _kill(self) -> None:
        _kill_group(self._processes["node"])

    def _pause(self) -> None:
        self._processes["node"].send_signal(signal.SIGSTOP)

    def _unpause(self) -> None:
        self._processes["node"].send_signal(signal.SIGCONT)

    def _close(self) -> None:
        # Nothing stored here is wanted any more, so there is no reason to wait for an orderly end. The node
        # goes first: it would complain when its name service goes.
        for name in ("node", "epmd"):
            process = self._processes.pop(name, None)
            if process is not None:
                _kill_group(process)
        if self._folder is not None:
            # Erlang's own helper may still write for a moment after the node was killed.
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._folder.exists():
                shutil.rmtree(self._folder)
            self._folder = None


def _find_of_erlang(name: str) -> Path | None:
    """Return one of Erlang's own commands; they often lie beside `erl` without being on PATH."""
    erl = find_command("erl")
    beside = [] if erl is None else [str(erl.resolve().parent)]
    return find_command(name, [*_FOLDERS, *beside])


def _texts(output: bytes | None, errors: bytes | None) -> tuple[str, str]:
    return (output or b"").decode("utf-8", "replace"), (errors or b"").decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that was asked to end, and end it by force when it does not."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
        return
    _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that we started in a session of its own, with what it started there, and collect it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

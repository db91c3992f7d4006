"""A RabbitMQ in a container, through testcontainers (which is imported only when one is asked for)."""

import contextlib
import gc
import importlib
import importlib.util
import os
import shutil
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from schedulergodx_testing.rabbitmq.broker import (
    COMMAND_TIMEOUT_S,
    TIMED_OUT,
    RabbitMQ,
    RabbitMQCommandFailed,
    RabbitMQUnavailable,
)
from schedulergodx_testing.rabbitmq.tls import TLSFiles
from schedulergodx_testing.rabbitmq.waiting import LOOPBACK, free_port, seconds_left, wait_until

IMAGE_VARIABLE: Final = "SCHEDULERGODX_TEST_RABBITMQ_IMAGE"
DEFAULT_IMAGE: Final = "rabbitmq:4"

PROBE_TIMEOUT_S = 5
PULL_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0

_AMQP_PORT: Final = 5672
_AMQPS_PORT: Final = 5671
_TLS_FOLDER: Final = "/etc/rabbitmq/tls"
_TLS_CONF: Final = "/etc/rabbitmq/conf.d/90-tls.conf"
# Debian's wrapper on PATH passes its arguments through a shell, which changes some; RabbitMQ's own does not.
_CTL_SCRIPT: Final = 'ctl=/usr/lib/rabbitmq/bin/rabbitmqctl; [ -x "$ctl" ] || ctl=rabbitmqctl; exec "$ctl" "$@"'
_ERL_CALL_SCRIPT: Final = 'printf "%s" "$1" | exec erl_call -e -sname "rabbit@$(hostname)"'
# Where the cookie of the broker lies, in the official images as in Debian's package.
_CTL_ENVIRONMENT: Final = {"HOME": "/var/lib/rabbitmq", "LC_ALL": "C.UTF-8"}


def default_image() -> str:
    """Return the image named by SCHEDULERGODX_TEST_RABBITMQ_IMAGE, else a current official one."""
    return os.environ.get(IMAGE_VARIABLE) or DEFAULT_IMAGE


def why_no_container(image: str | None = None, *, pull_timeout_s: float = PULL_TIMEOUT_S) -> str | None:
    """Say in a few words why a container of this image cannot be started here; None when it can.

    None as `image` means `default_image()`. An image that is not here is pulled, for at most about
    `pull_timeout_s` seconds; the daemon has 5 s for each answer.
    """
    if importlib.util.find_spec("testcontainers") is None:
        return "testcontainers is not installed"
    with warnings.catch_warnings():
        # The client leaves the socket of a failed attempt to the garbage collector, whose warning about it
        # would hit an unrelated test: so it is collected here.
        warnings.simplefilter("ignore", ResourceWarning)
        reason = _ask_daemon(image or default_image(), pull_timeout_s)
        gc.collect()
    return reason


def _ask_daemon(image: str, pull_timeout_s: float) -> str | None:
    docker: Any = importlib.import_module("docker")
    wrapper: Any = importlib.import_module("testcontainers.core.docker_client")
    failures = (docker.errors.DockerException, OSError)
    try:
        # The wrapper also knows the settings of testcontainers. Making a client asks the daemon's version.
        client = wrapper.DockerClient(timeout=PROBE_TIMEOUT_S).client
    except failures as error:
        return f"no Docker daemon answers: {_first_line(error)}"
    with contextlib.closing(client):
        for needed in (image, *_images_of_testcontainers()):
            try:
                _ensure_image(client, docker.errors.ImageNotFound, needed, pull_timeout_s)
            except failures as error:
                return f"the image {needed} is not here and cannot be pulled: {_first_line(error)}"
    return None


def _images_of_testcontainers() -> list[str]:
    """Return what testcontainers starts beside ours: its reaper, unless it is switched off."""
    settings: Any = importlib.import_module("testcontainers.core.config").testcontainers_config
    return [] if settings.ryuk_disabled else [settings.ryuk_image]


def _ensure_image(client: Any, not_found: type[Exception], image: str, timeout_s: float) -> None:
    with contextlib.suppress(not_found):
        client.images.get(image)
        return
    left_s = seconds_left(timeout_s)
    # Every answer is bounded by the client's timeout, and the number of answers by the time that is left.
    for progress in client.api.pull(image, stream=True, decode=True):
        if "error" in progress:
            raise OSError(progress["error"])
        if left_s() <= 0:
            message = f"it takes longer than {timeout_s:g} s; pull it before the tests"
            raise TimeoutError(message)
    client.images.get(image)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


class SchedulerRabbitMQ(RabbitMQ):
    """A RabbitMQ in a container of its own, reached through a port on the loopback interface.

    `image` is any RabbitMQ image with the user guest, None means `default_image()`. Stopping, killing and
    starting again keep the port and what is stored; `close()` removes the container with its volumes. With `tls`
    it speaks TLS too, at `tls_port`; the key is then readable for everybody on this machine while it lives.
    """

    def __init__(self, image: str | None = None, *, tls: TLSFiles | None = None) -> None:
        super().__init__(tls)
        self.image = image or default_image()
        self._port = free_port()
        self._testcontainer: Any = None
        self._tls_folder: Path | None = None

    @property
    def host(self) -> str:
        """Always the loopback address; a Docker on another machine is used by its URL instead."""
        return LOOPBACK

    @property
    def port(self) -> int:
        """The TCP port on the loopback interface, chosen when the object is made."""
        return self._port

    @property
    def log(self) -> str:
        """What the container wrote; empty before its start."""
        if self._testcontainer is None or self._testcontainer.get_wrapped_container() is None:
            return ""
        return str(self._container.logs(tail=2000).decode("utf-8", "replace"))

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` inside the container. One that is given up goes on in there."""
        exit_code, output, errors = self._run(_CTL_SCRIPT, *arguments)
        if exit_code != 0:
            raise RabbitMQCommandFailed(arguments, exit_code, output + errors)
        return output

    def _erl_call(self, expression: str) -> tuple[int, str, str]:
        return self._run(_ERL_CALL_SCRIPT, expression)

    def _run(self, script: str, *arguments: str) -> tuple[int, str, str]:
        frames: Any = importlib.import_module("docker.utils.socket")
        api = self._container.client.api
        command = ["sh", "-c", f"read -r _; {script}", "sh", *arguments]
        number = api.exec_create(self._container.id, command, stdin=True, environment=_CTL_ENVIRONMENT)["Id"]
        outputs = {frames.STDOUT: b"", frames.STDERR: b""}
        stream = api.exec_start(number, socket=True)
        connection, response = stream._sock, stream._response  # noqa: SLF001 - to write to the one, to close both
        with (
            contextlib.closing(stream), contextlib.closing(connection), contextlib.closing(response),
            _limited(connection) as is_late,
        ):  # fmt: skip
            # Only now it may begin: the client loses what is written before it has read the daemon's answer.
            connection.sendall(b"\n")
            for kind, piece in frames.frames_iter(stream, tty=False):
                outputs[kind] += piece
        output, errors = (piece.decode("utf-8", "replace") for piece in outputs.values())
        return TIMED_OUT if is_late.is_set() else int(api.exec_inspect(number)["ExitCode"]), output, errors

    @property
    def _container(self) -> Any:
        if self._testcontainer is None:
            raise RabbitMQUnavailable("this RabbitMQ has no container; call start()")
        return self._testcontainer.get_wrapped_container()

    def _start(self) -> None:
        if self._tls is not None:
            self._copy_tls_files(self._tls)
        if self._testcontainer is not None:
            self._container.start()
            return
        try:
            testcontainers: Any = importlib.import_module("testcontainers.core.container")
        except ModuleNotFoundError as error:
            raise RabbitMQUnavailable("testcontainers is not installed") from error
        self._testcontainer = testcontainers.DockerContainer(
            self.image, docker_client_kw={"timeout": COMMAND_TIMEOUT_S}
        )
        # A port chosen by Docker would change with every start, and clients could not come back.
        self._testcontainer.ports[f"{_AMQP_PORT}/tcp"] = (LOOPBACK, self._port)
        if self._tls_folder is not None:
            self._testcontainer.ports[f"{_AMQPS_PORT}/tcp"] = (LOOPBACK, self.tls_port)
            self._testcontainer.with_volume_mapping(str(self._tls_folder), _TLS_FOLDER, "ro")
            self._testcontainer.with_volume_mapping(str(self._tls_folder / "conf"), _TLS_CONF, "ro")
        self._testcontainer.start()

    def _copy_tls_files(self, files: TLSFiles) -> None:
        """Put the files where the container sees them and the broker's user may read them."""
        if self._tls_folder is None:
            self._tls_folder = Path(tempfile.mkdtemp(prefix="schedulergodx-tls-"))
            self._tls_folder.chmod(0o755)
        inside = {name: Path(_TLS_FOLDER, name) for name in ("certfile", "keyfile", "cafile")}
        for name in inside:
            copy = self._tls_folder / name
            copy.write_bytes(getattr(files, name).read_bytes())
            copy.chmod(0o644)
        conf = self._tls_folder / "conf"
        conf.write_text(TLSFiles(**inside).settings(str(_AMQPS_PORT)), "utf-8")
        conf.chmod(0o644)

    def _stop(self) -> None:
        # The first process of an image made from Debian's package is a shell, which ignores SIGTERM:
        # so the broker is asked itself, and the container ends with it.
        with contextlib.suppress(RabbitMQCommandFailed):
            self.ctl("stop")
        with contextlib.suppress(TimeoutError):
            wait_until(self._has_ended, "the container to end", timeout_s=STOP_TIMEOUT_S)
            return
        self._kill()

    def _kill(self) -> None:
        if self._life == "paused":
            self._container.unpause()  # Docker refuses to kill what it froze
        if not self._has_ended():
            self._kill_unless_ended()
        self._wait_for_end()

    def _kill_unless_ended(self) -> None:
        errors: Any = importlib.import_module("docker.errors")
        try:
            self._container.kill()
        except errors.APIError as error:
            # It ended by itself after it was looked at: "is not running".
            if error.status_code != HTTPStatus.CONFLICT:
                raise

    def _wait_for_end(self) -> None:
        wait_until(self._has_ended, "the container to end", timeout_s=STOP_TIMEOUT_S)

    def _has_ended(self) -> bool:
        self._container.reload()
        return bool(self._container.status == "exited")

    def _pause(self) -> None:
        self._container.pause()

    def _unpause(self) -> None:
        self._container.unpause()

    def _raise_if_dead(self) -> None:
        if self._has_ended():
            self._life = "down"
            raise RabbitMQUnavailable(f"the container of {self.image} ended at its start: {self.log[-500:]}")

    def _close(self) -> None:
        if self._testcontainer is not None:
            self._testcontainer.stop()
            self._testcontainer = None
        if self._tls_folder is not None:
            shutil.rmtree(self._tls_folder)
            self._tls_folder = None


@contextlib.contextmanager
def _limited(connection: socket.socket) -> Iterator[threading.Event]:
    """Cut a connection that is read for too long, and set the event: Docker's client waits without an end."""
    is_late = threading.Event()

    def cut() -> None:
        is_late.set()
        with contextlib.suppress(OSError):  # the other side has closed it in this moment
            connection.shutdown(socket.SHUT_RDWR)

    limit = threading.Timer(COMMAND_TIMEOUT_S, cut)
    limit.start()
    try:
        yield is_late
    finally:
        limit.cancel()
        limit.join()

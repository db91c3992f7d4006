"""What only the operating system can do: adopt orphans, find descendants, kill them. Used outside the service.

Linux does all of it. Elsewhere a task's process group is all that can be killed: a descendant that left the group, by
`setsid`, stays alive.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys

IS_LINUX = sys.platform == "linux"

# Looked up once, in the fork server: looking up costs more than all the calls of a process.
_libc = ctypes.CDLL(None)
_prctl_of_libc, _fflush = getattr(_libc, "prctl", None), _libc.fflush
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none can slip away (Linux only)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent dies, or end it if that has happened already (Linux only)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if IS_LINUX and _prctl_of_libc is not None:
        _prctl_of_libc(option, ctypes.c_ulong(value), 0, 0, 0)


def flush_c_streams() -> None:
    """Write what code in C has printed and its streams still hold."""
    _fflush(None)


def receive(descriptor: int, descriptors_max: int) -> tuple[bytes, list[int]]:
    """Read one byte from a socket, and the descriptors that come with it. No byte: nobody will write any more."""
    end = socket.socket(fileno=descriptor)
    try:
        data, descriptors, _, _ = socket.recv_fds(end, 1, descriptors_max)
    except OSError:
        return b"", []
    finally:
        end.detach()
    return data, descriptors


def has_threads() -> bool:
    """Return whether another thread lives in this process; where that cannot be known, True."""
    try:
        return len(os.listdir("/proc/self/task")) > 1  # noqa: PTH208 - numbers, no paths
    except OSError:
        return True


def open_pidfd(pid: int) -> int | None:
    """Return a file descriptor that becomes readable when `pid` ends, or None where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def be_first_to_die() -> None:
    """When memory runs out, have the kernel take this process rather than the service (Linux only)."""
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(descriptor, b"500")
        finally:
            os.close(descriptor)


def descendants(root: int) -> list[int]:
    """Return the children of `root`, their children and so on, parents first (Linux only; elsewhere nothing)."""
    children = _children_by_parent() if IS_LINUX else {}
    found = list(children.get(root, ()))
    for pid in found:  # it grows while it is read
        found.extend(children.get(pid, ()))
    return found


def _children_by_parent() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - a name is all that is needed, thousands of times
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                # The command stands in brackets and may hold any character, so count from its last bracket.
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):  # gone meanwhile
            continue
        children.setdefault(parent, []).append(int(name))
    return children


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def send_signal_to_group(group: int, number: int) -> bool:
    """Send a signal to a process group. Returns whether there is one."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of zombies
        return True
    return True

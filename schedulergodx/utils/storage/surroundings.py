"""What the system knows around a database: who keeps it locked, where it is, and which boot this is. Linux only."""

from __future__ import annotations

import os
import re
from pathlib import Path

LOCKS = Path("/proc/locks")
MOUNTS = Path("/proc/self/mountinfo")
BOOT = Path("/proc/sys/kernel/random/boot_id")
NETWORK_KINDS = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4"}
    | {"ncpfs", "ocfs2", "smb3", "smbfs", "virtiofs"}
)
"""File systems that other machines may have mounted, too."""
_WRITE_LOCK_BYTE = 120
"""The first byte of the log's index that SQLite locks, for writing: see "WAL-mode File Format" in its documentation."""


def writer_of(database: Path) -> int | None:
    """Return the process that has the database locked for writing, apart from this one; None: that is not known."""
    try:
        index = Path(f"{database}-shm").stat()
        lines = LOCKS.read_text().splitlines()
    except OSError:
        return None
    inode = f"{os.major(index.st_dev):02x}:{os.minor(index.st_dev):02x}:{index.st_ino}"
    for line in lines:
        match line.split():
            # 1: POSIX  ADVISORY  WRITE 4711 08:01:131 120 120
            case [_, "POSIX", _, "WRITE", pid, where, first, _] if where == inode and first == str(_WRITE_LOCK_BYTE):
                if int(pid) not in {0, os.getpid()}:
                    return int(pid)
    return None


def network_kind(path: Path) -> str | None:
    """Return the kind of file system that `path` is on, if other machines may have it, too; else None."""
    try:
        mounts = MOUNTS.read_text().splitlines()
    except OSError:
        return None
    kinds = dict(_mount(line) for line in mounts)  # a later mount hides an earlier one
    for folder in path.absolute().parents:
        if (kind := kinds.get(str(folder))) is not None:
            return kind if kind in NETWORK_KINDS else None
    return None


def boot_id() -> str:
    """Return what names this boot of the system, another one after each; "": that is not known."""
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _mount(line: str) -> tuple[str, str]:
    """Return where something is mounted, and its kind: `36 35 98:0 /mnt1 /mnt2 rw - ext3 /dev/root rw`."""
    ours, _, theirs = line.partition(" - ")
    place = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), ours.split()[4])
    return place, theirs.split()[0]

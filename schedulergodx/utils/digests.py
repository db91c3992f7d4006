"""Digests of functions, which travel, are sealed and are stored by theirs: one is sent as often as it is launched."""

from __future__ import annotations

import hashlib
from functools import lru_cache

_KEPT_BYTES_MAX = 64 * 1024


def digest_of(body: bytes) -> bytes:
    """Return the SHA-256 of a function's body; those of small ones are kept. Safe from any thread."""
    return _kept(body) if len(body) <= _KEPT_BYTES_MAX else _sha256(body)


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


_kept = lru_cache(maxsize=64)(_sha256)

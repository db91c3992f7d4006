"""The keys that messages are signed with: a ring of them, and where it comes from."""

from schedulergodx.utils.keys.ring import Key, KeyRing
from schedulergodx.utils.keys.source import Keys, KeySource

__all__ = ["Key", "KeyRing", "KeySource", "Keys"]

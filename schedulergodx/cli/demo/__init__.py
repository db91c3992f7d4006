"""`schedulergodx demo`: a service in a process of its own, real work for it, and a look at how it goes."""

from schedulergodx.cli.demo.command import add_to

__all__ = ["add_to"]

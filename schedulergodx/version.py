"""The version of this distribution, read from its metadata, which takes a while: import it when it is needed."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("schedulergodx")
except PackageNotFoundError:  # a checkout on the path that was never installed
    __version__ = "0+unknown"

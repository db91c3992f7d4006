"""What a broker needs to speak TLS: files that a test has made, e.g. with `trustme`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TLSFiles:
    """Files in PEM format for a broker that speaks TLS too, on a port of its own.

    They are read at every start: another certificate in the same file is served after a `restart()`.

    Attributes:
        certfile: the broker's certificate, with those between it and its authority.
        keyfile: its key.
        cafile: whose certificates are accepted from clients. A client need not have one; a wrong one is refused.
    """

    certfile: Path
    keyfile: Path
    cafile: Path

    def settings(self, listener: str) -> str:
        """Return the lines of `rabbitmq.conf` that make a broker listen at `listener`, a port or `address:port`."""
        return (
            f"listeners.ssl.1 = {listener}\n"
            f"ssl_options.certfile = {self.certfile}\n"
            f"ssl_options.keyfile = {self.keyfile}\n"
            f"ssl_options.cacertfile = {self.cafile}\n"
            "ssl_options.verify = verify_peer\n"
            "ssl_options.fail_if_no_peer_cert = false\n"
        )

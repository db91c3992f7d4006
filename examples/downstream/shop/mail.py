"""The mails of the shop. This one only keeps whom it wrote to."""

outbox: list[str] = []


def send(user: str, text: str) -> None:
    """Send a mail."""
    if not text:
        raise ValueError("a mail needs a text")
    outbox.append(user)

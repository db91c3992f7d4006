"""Accounts, and the mail that follows a day after signing up."""

from schedulergodx import Client

from shop import mail

client = Client(name="shop")


@client.task
def remind(user: str) -> None:
    """Ask a user who has not come back."""
    mail.send(user, "Still there?")


def sign_up(user: str) -> None:
    """Make an account."""
    remind.options(delay=24 * 3600).launch(user)

"""The web function, which launches and looks for answers."""

import unittest

from schedulergodx_testing import Harness

from shop import mail, web
from shop.accounts import remind


def test_signing_up_over_the_web(scheduler):
    assert web.post("/accounts", {"user": "ada"}) == (201, "welcome")
    scheduler.assert_launched(remind, args=("ada",))


def test_a_report_over_the_web(scheduler):
    status, report_id = web.post("/reports", {"year": "2025"})
    assert status == 202
    assert web.get(f"/reports/{report_id}") == (202, "not yet")
    scheduler.advance(minutes=12)
    assert web.get(f"/reports/{report_id}") == (200, "7800 in total")


def test_a_report_that_fails_over_the_web(scheduler):
    _, report_id = web.post("/reports", {"year": "1999"})
    scheduler.run_until_idle()
    assert web.get(f"/reports/{report_id}") == (500, "the report failed")


class SigningUp(unittest.TestCase):
    """Without a fixture: the same harness as a context manager."""

    """The same without fixtures."""

    def test_two_users(self):
        """Both hear from the shop a day later."""
        mail.outbox.clear()
        with Harness() as scheduler:
            web.post("/accounts", {"user": "ada"})
            web.post("/accounts", {"user": "grace"})
            scheduler.advance(days=1)
        self.assertCountEqual(mail.outbox, ["ada", "grace"])  # due at one moment: in either order

"""Signing up, and the mail of the next day."""

import pytest

from schedulergodx_testing import assert_portable

from shop import mail
from shop.accounts import remind, sign_up


@pytest.fixture(autouse=True)
def empty_outbox():
    mail.outbox.clear()


def test_reminder_goes_out_a_day_later(scheduler):
    sign_up("ada")
    scheduler.assert_launched(remind, args=("ada",), delay=24 * 3600)
    scheduler.advance(hours=23)
    assert mail.outbox == []
    scheduler.advance(hours=1)
    assert mail.outbox == ["ada"]


def test_a_reminder_survives_a_crash_of_the_service(scheduler):
    sign_up("ada")
    scheduler.run_until_idle()
    scheduler.crash_service()
    scheduler.start_service()
    scheduler.advance(days=1)
    assert mail.outbox == ["ada"]


def test_a_reminder_that_comes_too_late_is_left_out(scheduler):
    sign_up("ada")
    scheduler.run_until_idle()
    scheduler.stop_service()
    scheduler.advance(days=3)
    scheduler.start_service()
    scheduler.run_until_idle()
    assert mail.outbox == []
    scheduler.assert_failed(remind, error="OVERDUE_SKIPPED")


@pytest.mark.scheduler(is_capturing=True)
def test_signing_up_launches_one_reminder(scheduler):
    sign_up("ada")
    scheduler.assert_launched(remind, args=("ada",), times=1)
    scheduler.advance(days=30)
    assert mail.outbox == []


def test_the_service_can_run_reminders():
    assert_portable(remind, "ada", run=True)

"""The yearly report, which takes twelve minutes of virtual time."""

import pytest

from schedulergodx import TaskTimedOut

from shop.reports import yearly_report


def test_a_report_takes_its_time(scheduler):
    before = scheduler.clock.now()
    assert yearly_report.launch(2025).result() == {"year": 2025, "total": 7800}
    assert (scheduler.clock.now() - before).total_seconds() == 12 * 60


def test_a_report_that_takes_too_long_is_killed(scheduler):
    before = scheduler.clock.now()
    with pytest.raises(TaskTimedOut):
        yearly_report.launch(2025, pause_s=600).result()
    assert (scheduler.clock.now() - before).total_seconds() == 3600


def test_two_reports_at_a_time(scheduler):
    before = scheduler.clock.now()
    first, second = yearly_report.launch(2024), yearly_report.launch(2025)
    scheduler.run_all()
    scheduler.assert_completed(first)
    scheduler.assert_completed(second, result={"year": 2025, "total": 7800})
    assert (scheduler.clock.now() - before).total_seconds() == 12 * 60


def test_a_year_before_the_shop_fails(scheduler):
    yearly_report.launch(1999)
    scheduler.run_until_idle()
    scheduler.assert_failed(yearly_report, error=ValueError)

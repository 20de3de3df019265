"""The meaning of periods and ranges."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from usagepipe.query import TimeRange
from usagepipe.query.periods import PeriodName, Width, default_width, range_of, zone_of
from usagepipe.schemas.errors import WrongUseError

NOW = datetime(2026, 5, 21, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "length"),
    [("day", timedelta(hours=24)), ("week", timedelta(days=7)), ("month", timedelta(days=30))],
)
def test_a_period_trails_from_now(period: PeriodName, length: timedelta) -> None:
    """A day is the last 24 hours, and an event of this moment is in it."""
    span = range_of(period, NOW)

    assert span.start <= NOW < span.end
    assert length == span.end - span.start


def test_all_is_every_moment_an_event_may_have() -> None:
    """Events dated in the future are part of all time."""
    span = range_of("all", NOW)

    assert (2000, 2100) == (span.start.year, span.end.year)


def test_an_unknown_period_is_refused() -> None:
    """T-23e: an unknown period is refused."""
    with pytest.raises(WrongUseError, match="no period 'decade'"):
        range_of("decade", NOW)  # type: ignore[arg-type]


def test_an_empty_range_is_refused() -> None:
    """A range that ends where it starts holds nothing, so it is an error."""
    with pytest.raises(WrongUseError, match="the end must lie after the start"):
        TimeRange(NOW, NOW)


def test_a_time_without_a_zone_is_refused() -> None:
    """A naive time would mean different moments on different machines."""
    with pytest.raises(WrongUseError, match="has no time zone"):
        TimeRange(NOW.replace(tzinfo=None), NOW)


def test_the_ends_are_kept_in_utc_and_whole_milliseconds() -> None:
    """Both ends are rounded up, so the same events (of whole milliseconds) lie in the range."""
    zone = timezone(timedelta(hours=5, minutes=30))
    span = TimeRange(NOW.astimezone(zone), NOW + timedelta(microseconds=1))

    assert (NOW, NOW + timedelta(milliseconds=1)) == (span.start, span.end)
    assert span.start.tzinfo is UTC


@pytest.mark.parametrize(
    ("period", "width"), [("day", "hour"), ("week", "day"), ("month", "day"), ("all", "month")]
)
def test_a_period_has_its_width(period: PeriodName, width: Width) -> None:
    """Buckets are hours of a day, days of a week or a month, months of all time."""
    assert width == default_width(period)


@pytest.mark.parametrize(("days", "width"), [(2, "hour"), (92, "day"), (93, "month")])
def test_a_range_has_a_width_of_a_few_dozen_buckets(days: int, width: Width) -> None:
    """A range gets the finest width that shows it in less than a hundred buckets."""
    assert width == default_width(TimeRange(NOW, NOW + timedelta(days=days)))


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "Europe", "", "x" * 5000])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    """Only IANA names are accepted; paths, folders and other words are not."""
    with pytest.raises(WrongUseError, match="no time zone"):
        zone_of(name)

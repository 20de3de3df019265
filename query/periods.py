"""The time of a question: a named period that ends now, or a range `[start, end)`.

"day" is the last 24 hours, not the calendar day, so its first bucket is partial. "all" includes
every possible event time, also the future.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.event import EARLIEST, LATEST

PeriodName = Literal["day", "week", "month", "all"]
Width = Literal["15m", "hour", "day", "month"]

PERIOD_NAMES: tuple[PeriodName, ...] = get_args(PeriodName)
WIDTHS: tuple[Width, ...] = get_args(Width)
_LENGTHS: dict[str, timedelta] = {
    "day": timedelta(hours=24),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
_WIDTHS: dict[str, Width] = {"day": "hour", "week": "day", "month": "day", "all": "month"}
_HOURS_UP_TO = timedelta(days=2)  # 48 rows
_DAYS_UP_TO = timedelta(days=92)  # 92 rows: a quarter of a year
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _round_up(moment: datetime) -> datetime:
    excess = moment.microsecond % 1000
    return moment + timedelta(microseconds=1000 - excess) if excess else moment


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The half-open range `[start, end)` of aware datetimes, kept in UTC and whole milliseconds.

    Both ends are rounded up: event times are whole milliseconds, so the same events lie in it.

    Raises:
        WrongUseError: an end has no time zone, or the range is empty.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            moment: datetime = getattr(self, name)
            if moment.tzinfo is None:
                raise WrongUseError(f"{name} {moment.isoformat()} has no time zone: add one.")
            object.__setattr__(self, name, _round_up(moment.astimezone(UTC)))
        if self.start >= self.end:
            raise WrongUseError(
                f"the range starts at {self.start.isoformat()} and ends at "
                f"{self.end.isoformat()}: the end must lie after the start."
            )

    @property
    def milliseconds(self) -> tuple[int, int]:
        """Both ends in milliseconds since 1970, cut to the times that events can have.

        No event lies outside these, and ClickHouse's columns cannot hold some moments there.
        """
        start, end = (min(max(each, EARLIEST), LATEST) for each in (self.start, self.end))
        return (start - _EPOCH) // _MILLISECOND, (end - _EPOCH) // _MILLISECOND


EVER = TimeRange(EARLIEST, LATEST)


def range_of(period: PeriodName | TimeRange, now: datetime) -> TimeRange:
    """The range that `period` means at the moment `now`; an event of this very moment is in it.

    Raises:
        WrongUseError: there is no such period.
    """
    if isinstance(period, TimeRange):
        return period
    if period not in PERIOD_NAMES:
        raise WrongUseError(f"no period {period!r}: it is one of {', '.join(PERIOD_NAMES)}.")
    if period == "all":
        return EVER
    end = _round_up(now) + _MILLISECOND
    return TimeRange(end - _LENGTHS[period], end)


def default_width(period: PeriodName | TimeRange) -> Width:
    """The width of buckets that shows `period` in a few dozen of them."""
    if not isinstance(period, TimeRange):
        return _WIDTHS[period]
    length = period.end - period.start
    if length <= _HOURS_UP_TO:
        return "hour"
    return "day" if length <= _DAYS_UP_TO else "month"


def zone_of(name: str) -> tzinfo:
    """The time zone with this IANA name.

    Raises:
        WrongUseError: there is no such time zone.
    """
    if name == "UTC":
        return UTC  # also where the system has no time zone data
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # names like "../x" and "Europe", too
        raise WrongUseError(f"no time zone {name!r}: write an IANA name, such as UTC.") from None

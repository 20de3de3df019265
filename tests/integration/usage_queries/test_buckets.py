"""Usage by time: days, other time zones, widths of buckets."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.past_usage import event
from tests.support.stored_events import store
from usagepipe.query import TimeRange, UsageQueries

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def test_days_part_at_midnight_utc(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """T-23g: 23:59:59.999 and 00:00:00.000 are two days."""
    midnight = datetime(2026, 5, 20, tzinfo=UTC)
    for moment in (midnight - timedelta(milliseconds=1), midnight):
        store(clickhouse_client, event(occurred_at=moment))

    rows = usage.buckets("week").rows

    assert [midnight - timedelta(days=1), midnight] == [row.start for row in rows]


def test_days_of_another_time_zone(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """Midnight in Kathmandu is 18:15 UTC, the border of a quarter of an hour."""
    midnight = datetime(2026, 5, 19, 18, 15, tzinfo=UTC)
    for moment in (midnight - timedelta(milliseconds=1), midnight):
        store(clickhouse_client, event(occurred_at=moment))

    answer = usage.buckets("week", time_zone="Asia/Kathmandu")

    assert ["2026-05-19T00:00:00+05:45", "2026-05-20T00:00:00+05:45"] == [
        row.start.isoformat() for row in answer.rows
    ]
    assert "Asia/Kathmandu" == answer.time_zone


def test_a_day_of_25_hours_is_one_day(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """Where clocks go back, the day's bucket has both of its two o'clocks, and hours stay two."""
    moments = [datetime(2025, 10, 26, hour, 30, tzinfo=UTC) for hour in (0, 1, 22)]
    store(clickhouse_client, *[event(occurred_at=moment) for moment in moments])
    span = TimeRange(moments[0] - timedelta(days=2), moments[0] + timedelta(days=2))

    days = usage.buckets(span, width="day", time_zone="Europe/Berlin").rows
    hours = usage.buckets(span, width="hour", time_zone="Europe/Berlin").rows

    assert [("2025-10-26T00:00:00+02:00", 3)] == [(r.start.isoformat(), r.requests) for r in days]
    assert ["02:00:00+02:00", "02:00:00+01:00", "23:00:00+01:00"] == [
        row.start.isoformat()[11:] for row in hours
    ]


@pytest.mark.parametrize(
    ("width", "starts"),
    [
        ("15m", ["2026-05-21T14:15:00+00:00", "2026-05-21T14:30:00+00:00"]),
        ("hour", ["2026-05-21T14:00:00+00:00"]),
        ("day", ["2026-05-21T00:00:00+00:00"]),
        ("month", ["2026-05-01T00:00:00+00:00"]),
    ],
)
def test_a_bucket_starts_where_its_width_says(
    usage: UsageQueries, clickhouse_client: "Client", width: Any, starts: list[str]
) -> None:
    """Every width that may be asked for, at the raw edge of the range."""
    store(clickhouse_client, event(), event(ago=timedelta(minutes=5)))

    rows = usage.buckets("day", width=width).rows

    assert starts == [row.start.isoformat() for row in rows]


def test_buckets_by_a_dimension(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """A row for each bucket and value, in the order of both; the rows of a bucket add up to it."""
    for ago in (timedelta(), timedelta(days=1)):
        for model in ("b", "a"):
            store(clickhouse_client, event(ago=ago, model=model, total_tokens=1))

    rows = usage.buckets_by("model", "week").rows

    assert [(20, "a"), (20, "b"), (21, "a"), (21, "b")] == [(r.start.day, r.value) for r in rows]
    assert [2, 2] == [row.total_tokens for row in usage.buckets("week").rows]


def test_a_cut_series_is_reported(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """The earliest buckets are given, and that there are more."""
    store(clickhouse_client, *[event(ago=timedelta(days=n)) for n in range(3)])

    answer = usage.buckets("week", limit=2)

    assert ([19, 20], True) == ([row.start.day for row in answer.rows], answer.truncated)
    assert not usage.buckets("week", limit=3).truncated

"""Usage by model shows failed requests under the model that was asked."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.support.stored_events import store
from tests.support.watched import OVERLOADED, STREAM, Bench, answering, reading
from usagepipe.query import TimeRange, UsageQueries
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BROKEN = (
    b'data: {"model": "served", "usage": {"prompt_tokens": 31, "completion_tokens": 7}}\n\n'
    b'data: {"error": {"message": "overloaded"}}\n\n'
)


def test_failures_count_for_the_model_that_was_asked(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """Refused before any model answered, or broken off in the middle of a 200 stream: each is a
    failure of its model, in rollups as in the raw rows that an edge of the range reads."""
    refused = Bench(reading(answering(OVERLOADED, status=503)))
    broken = Bench(reading(answering(BROKEN, headers=STREAM)))
    for bench in (refused, broken):
        bench.post(body={"model": "asked", "stream": True})
    day = datetime(2026, 5, 20, 12, 1, tzinfo=UTC)
    store(
        clickhouse_client,
        *(
            bench.event.model_copy(update={"occurred_at": moment})
            for moment in (day, day + timedelta(hours=6))
            for bench in (refused, broken)
        ),
    )
    usage = UsageQueries(clickhouse_client, clock=lambda: day + timedelta(days=1))

    rolled_up = usage.by_model(TimeRange(day - timedelta(days=2), day + timedelta(days=2)))
    cut = usage.by_model(TimeRange(day - timedelta(minutes=2), day + timedelta(minutes=2)))

    assert [("served", 2, 2, 76), ("asked", 2, 2, 0)] == [
        (row.model, row.requests, row.failures, row.total_tokens) for row in rolled_up.rows
    ]
    assert [("served", 1, 1, 38), ("asked", 1, 1, 0)] == [
        (row.model, row.requests, row.failures, row.total_tokens) for row in cut.rows
    ]

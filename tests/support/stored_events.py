"""Puts events into `usage_events` as the worker does: JSON rows with their place in the log. And
sums what is stored, in every table."""

import itertools
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from usagepipe.schemas import UsageEvent

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ARRIVED = datetime(2026, 1, 15, tzinfo=UTC)
_OFFSETS = itertools.count()
Sums = list[Sequence[Any]]


def rows_of(events: Iterable[UsageEvent], **columns: object) -> bytes:
    """JSON rows of the events at the next offsets; `columns` are the same in every row."""
    return b"\n".join(json.dumps(_row(event) | columns).encode() for event in events)


def insert_rows(client: "Client", rows: bytes, token: str = "") -> None:
    """Insert the rows as one block; with a token, a repetition stores nothing."""
    client.raw_insert(
        "usage_events",
        insert_block=rows,
        fmt="JSONEachRow",
        settings={
            "insert_deduplication_token": token,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "max_partitions_per_insert_block": 0,
            "date_time_input_format": "best_effort",
        },
    )


def store(client: "Client", *events: UsageEvent) -> None:
    """Insert the events, and their usage into the rollups."""
    insert_rows(client, rows_of(events))


def usage_sums(client: "Client") -> Sums:
    """Rows, tokens and costs of raw and of each rollup."""
    tables = {"usage_events": "count()"} | dict.fromkeys(
        ("rollup_usage_15m", "rollup_usage_1d"), "sum(requests)"
    )
    return [
        client.query(f"SELECT {rows}, sum(total_tokens), sum(cost) FROM {table}").result_rows[0]
        for table, rows in tables.items()
    ]


def sums_of(events: Sequence[UsageEvent]) -> Sums:
    """The same of these events, each once."""
    tokens = sum(each.total_tokens for each in events)
    cost = sum((each.cost for each in events if each.cost is not None), Decimal(0))
    return [(len(events), tokens, cost)] * 3


def _row(event: UsageEvent) -> dict[str, object]:
    return event.model_dump(mode="json", exclude_defaults=True) | {
        "kafka_topic": "usage.events.v1",
        "kafka_topic_id": "a-topic",
        "kafka_partition": 0,
        "kafka_offset": next(_OFFSETS),
        "batch_epoch": 0,
        "ingested_at": ARRIVED.isoformat(),
    }

"""Verifies the rollups: finds keys whose sums are not those of the raw rows. Changes nothing."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from usagepipe.consumer.rollups.comparison_sql import DAYS, KEYS, SUMS
from usagepipe.consumer.rollups.real_differences import real_differences
from usagepipe.consumer.rollups.tables import RollupTables, Unsettled, Window

MAX_NAMED: Final = 1_000  # differences of one day and table


@dataclass(frozen=True, slots=True)
class Difference:
    """A key of a bucket whose sums are not those of the raw rows.

    `missing` is raw minus rollup of each column that differs: below 0 the rollup has too much.
    """

    table: str
    bucket: datetime
    key: Mapping[str, str]
    missing: Mapping[str, int | Decimal]


def find_differences(
    tables: RollupTables,
    first: datetime,
    end: datetime,
    wait_seconds: float,
    unsettled: Unsettled = lambda: (),
) -> list[Difference]:
    """The differences for events of `first` <= occurred_at < `end`, widened to whole buckets.

    At most `MAX_NAMED` for each day and table. Days are compared only where the quarters are right.
    Blocks.

    Raises:
        RollupsBusyError: the keys that differ were being written for `wait_seconds`.
        clickhouse_connect's Error: ClickHouse is unreachable, or refused.
    """
    deadline = time.monotonic() + wait_seconds
    found: list[Difference] = []
    for window in tables.windows(first, end):
        # Against wrong quarters, right days would differ.
        if window.sql is DAYS and any(window.first <= each.bucket < window.end for each in found):
            continue
        if states := real_differences(tables, window, unsettled, deadline):
            found += _describe(tables, window, sorted(states)[:MAX_NAMED])
    return found


def _describe(tables: RollupTables, window: Window, states: Sequence[int]) -> Iterator[Difference]:
    sums = [f"{side}_{column}" for side in ("raw", "rolled") for column in (*SUMS, "cost")]
    columns = ("bucket", *KEYS, *sums)
    rows = tables.query(
        f"SELECT {', '.join(columns)} FROM ({window.sql.differences(())})"
        f" WHERE state IN ({', '.join(map(str, states))}) ORDER BY bucket, {', '.join(KEYS)}",
        window,
    )
    for row in rows:
        yield _difference(window.sql.table, dict(zip(columns, row, strict=True)))


def _difference(table: str, row: Mapping[str, Any]) -> Difference:
    missing = {
        column: (row[f"raw_{column}"] or 0) - (row[f"rolled_{column}"] or 0)
        for column in (*SUMS, "cost")
    }
    return Difference(
        table,
        row["bucket"],
        {name: row[name] for name in KEYS},
        {column: number for column, number in missing.items() if number},
    )

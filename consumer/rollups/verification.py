"""Verifies the rollups: finds keys whose sums are not those of the raw rows. Changes nothing."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from usagepipe.consumer.rollups.comparison_sql import DAYS, KEYS, SUMS
from usagepipe.consumer.rollups.real_differences import real_differences
from usagepipe.consumer.rollups.tables import RollupTables, Unsettled, Window, nothing_unsettled
from usagepipe.schemas.settings import ClickHouseAddress


@dataclass(frozen=True, slots=True)
class Difference:
    """A key of a bucket whose sums are not those of the raw rows.

    `missing` is raw minus rollup of each column that differs: below 0 the rollup has too much.
    """

    table: str
    bucket: datetime
    key: Mapping[str, str]
    missing: Mapping[str, int | Decimal]


class RollupVerifier:
    """Compares the rollups with the raw rows. Blocks. Each thread needs its own."""

    def __init__(self, address: ClickHouseAddress, seconds: float) -> None:
        """Connects at the first call. `seconds` is the timeout of one statement."""
        self._tables = RollupTables(address, seconds)

    def close(self) -> None:
        self._tables.close()

    def differences(
        self,
        first: datetime,
        end: datetime,
        wait_seconds: float = 30.0,
        *,
        limit: int = 1_000,
        unsettled: Unsettled = nothing_unsettled,
    ) -> list[Difference]:
        """The differences for events of `first` <= occurred_at < `end`, widened to whole buckets.

        At most `limit` for each day and table. Days are compared only where the quarters are right.

        Raises:
            RollupsBusyError: the keys that differ were being written for `wait_seconds`.
            clickhouse_connect's Error: ClickHouse is unreachable, or refused.
        """
        deadline = time.monotonic() + wait_seconds
        found: list[Difference] = []
        for window in self._tables.windows(first, end):
            # Against wrong quarters, right days would differ.
            if window.sql is DAYS and any(window.has(each.bucket) for each in found):
                continue
            states, _ = real_differences(self._tables, window, unsettled, deadline)
            if states:
                found += self._describe(window, sorted(states)[:limit])
        return found

    def _describe(self, window: Window, states: Sequence[int]) -> Iterator[Difference]:
        sums = [f"{side}_{column}" for side in ("raw", "rolled") for column in (*SUMS, "cost")]
        columns = ("bucket", *KEYS, *sums)
        rows = self._tables.query(
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

"""Runs the comparison of the rollups with their origins on ClickHouse, one window at a time.

Shared by verification (which only reads) and rebuild (which inserts differences).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.consumer.rollups.comparison_sql import (
    DAYS,
    QUARTERS,
    ComparisonSql,
    UnsettledOffsets,
)
from usagepipe.consumer.rollups.raw_retention import raw_complete_from
from usagepipe.schemas.settings import ClickHouseAddress

MAX_KEYS: Final = 20_000  # keys of one statement; the next round handles the rest
SETTINGS: Final[Mapping[str, str | int]] = {
    "select_sequential_consistency": 1,
    # The hashes of the keys are part of the statement.
    "max_query_size": 16 << 20,
    "max_ast_elements": 1_000_000,
    "max_expanded_ast_elements": 1_000_000,
    # One block, one view after the other, answered when all is written.
    "max_insert_block_size": 1 << 30,
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1 << 30,
    "min_insert_block_size_bytes": 1 << 40,
    "wait_end_of_query": 1,
    "distributed_foreground_insert": 1,
    "parallel_distributed_insert_select": 0,
    "materialized_views_ignore_errors": 0,
}
_DAY: Final = timedelta(days=1)

# The offsets whose insert may still be repeated. A caller that knows of no other writer has none.
Unsettled = Callable[[], Sequence[UnsettledOffsets]]


@dataclass(frozen=True, slots=True)
class Window:
    """Whole buckets of one rollup, from `first` to before `end`."""

    sql: ComparisonSql
    first: datetime
    end: datetime

    @classmethod
    def around(cls, sql: ComparisonSql, first: datetime, end: datetime) -> Self:
        """`first` … `end`, widened to whole buckets."""
        last = sql.bucket_of(end - timedelta(microseconds=1))
        return cls(sql, sql.bucket_of(first), last + sql.width)

    def on_day(self, day: datetime) -> Self:
        """The part of the window on this UTC day."""
        return replace(self, first=max(self.first, day), end=min(self.end, day + _DAY))

    def __str__(self) -> str:
        return f"{self.sql.table} from {self.first:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"


class RollupTables:
    """Reads the rollups and their origins. Blocks. Each thread needs its own.

    Raises the client's errors.
    """

    def __init__(self, address: ClickHouseAddress, seconds: float) -> None:
        """Connects at the first call. `seconds` is the timeout of one statement."""
        self.database: Final = address.database
        self.client: Final = LazyClient(address, seconds)

    def close(self) -> None:
        self.client.close()

    def windows(self, first: datetime, end: datetime) -> Iterator[Window]:
        """The windows to compare key by key, each within one UTC day.

        Of a range of several days, only the days whose fingerprints differ. Buckets that the raw
        table no longer has complete are skipped (see `raw_complete_from`).
        """
        complete_from = raw_complete_from(self.client.get())
        # Quarters first: rows that are added to them flow into the days.
        for sql in (QUARTERS, DAYS):
            whole = Window.around(sql, first, end)
            if complete_from is not None and complete_from > whole.first:
                whole = replace(whole, first=complete_from)
            if whole.first >= whole.end:
                continue
            if whole.end - whole.first <= _DAY:
                yield whole
            else:
                yield from map(whole.on_day, self._differing_days(whole))

    def differing_keys(
        self, window: Window, unsettled: Sequence[UnsettledOffsets]
    ) -> tuple[set[int], bool]:
        """The states of keys that differ and are settled; whether any key differs, settled or not.

        At most `MAX_KEYS` states, the smallest ones.
        """
        rows = self.query(
            f"SELECT state, unsettled FROM ({window.sql.differences(unsettled)})"
            f" ORDER BY unsettled > 0, state LIMIT {MAX_KEYS}",
            window,
        )
        return {int(state) for state, unsettled_rows in rows if not unsettled_rows}, bool(rows)

    def query(self, sql: str, window: Window) -> Sequence[Sequence[Any]]:
        """The rows of a SELECT with the parameters `first` and `end`."""
        return self.client.rows(sql, _bounds(window), SETTINGS)

    def insert(self, sql: str, window: Window, token: str) -> None:
        """Run an INSERT … SELECT with the parameters `first` and `end`."""
        settings = {**SETTINGS, "insert_deduplication_token": token}
        self.client.get().command(sql, parameters=_bounds(window), settings=settings)

    def _differing_days(self, window: Window) -> list[datetime]:
        """Days of the window on which a key differs, or is being written."""
        origin, rollup = (
            {day: number for day, number in self.query(sql, window)}
            for sql in window.sql.fingerprints()
        )
        days = sorted(origin.keys() | rollup.keys())
        differing = (day for day in days if origin.get(day, 0) != rollup.get(day, 0))
        return [datetime.fromtimestamp(day, UTC) for day in differing]


def _bounds(window: Window) -> dict[str, Any]:
    return {"first": window.first, "end": window.end}

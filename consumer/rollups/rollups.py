"""Compares the rollups with the raw rows and mends them by adding what is missing.

A rollup is never deleted and made anew in place: a row of (raw - rollup) is inserted beside what
stands, so a reader sees the old sum or the right one. UInt64 sums wrap, so "minus three" is a row
too. The trap: between an insert's raw rows and its views, every key it touches differs for a
moment, and correcting that moment would double it. See `Rollups._real`.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

from usagepipe.consumer.rollups.raw_retention import kept_from
from usagepipe.consumer.rollups.rollup_comparison import (
    DAYS,
    KEYS,
    QUARTERS,
    SUMS,
    Comparison,
    Stretch,
)
from usagepipe.consumer.rollups.running_inserts import Processes
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.errors import UsagePipeError
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = structlog.get_logger()

MARK: Final = "usagepipe: correction of a rollup"
MAX_KEYS: Final = 20_000  # that one statement corrects; what is left comes in the next round
PAUSE_SECONDS: Final = 0.05
_DAY: Final = timedelta(days=1)
_SETTINGS: Final[Mapping[str, str | int]] = {
    "select_sequential_consistency": 1,
    # The hashes of the keys stand in the statement.
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

Unsettled = Callable[[], Sequence[Stretch]]


class NotQuietError(UsagePipeError):
    """A rollup's keys were being written the whole time: repeat when less is written."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key of a bucket whose sums are not those of the raw rows.

    `missing` holds raw minus rollup of each column that differs: below 0 the rollup has too much.
    """

    table: str
    bucket: datetime
    key: Mapping[str, str]
    missing: Mapping[str, int | Decimal]


def _nothing_unsettled() -> Sequence[Stretch]:
    return ()


class Rollups:
    """Holds the rollups against the raw rows. Blocks. Each thread needs one of its own.

    `unsettled`, where a method takes it, tells which inserts may still be repeated: of each
    partition the first offset that its group has not acknowledged. Such an insert may have written
    its raw rows, failed in a view and be waiting to heal it, with no statement running that would
    tell. Keys with such rows are left until they are settled. It is called before every
    comparison. A caller that knows of no other writer leaves it out.

    Raises whatever the client raises, besides what is told.
    """

    def __init__(self, address: ClickHouseAddress, seconds: float) -> None:
        """Connects at the first call. `seconds` is how long one statement may take."""
        self._address = address
        self._seconds = seconds
        self._client: Client | None = None

    def differences(
        self,
        first: datetime,
        end: datetime,
        wait_seconds: float = 30.0,
        *,
        limit: int = 1_000,
        unsettled: Unsettled = _nothing_unsettled,
    ) -> list[Difference]:
        """What differs, for events of `first` <= occurred_at < `end`, widened to whole buckets.

        At most `limit` of a day and table. The rollup of days is held against that of quarters,
        where that one is right.
        Buckets that the raw table no longer has whole are not looked at (see `kept_from`).

        Raises:
            NotQuietError: what differs was being written for `wait_seconds`.
        """
        deadline = time.monotonic() + wait_seconds
        found: list[Difference] = []
        for window in self._windows(first, end):
            # Against quarters that are wrong, days that are right would differ.
            if window.comparison is DAYS and any(window.has(each.bucket) for each in found):
                continue
            states, _ = self._real(window, unsettled, deadline)
            if states:
                found += self._described(window, sorted(states)[:limit])
        return found

    def correct(
        self,
        first: datetime,
        end: datetime,
        wait_seconds: float,
        *,
        unsettled: Unsettled = _nothing_unsettled,
    ) -> int:
        """Make the rollups equal to raw, for the events `differences` would look at.

        Returns the number of correction rows. Several correctors at once are safe; so is one that
        is killed at any point, or stopped and woken.

        Raises:
            NotQuietError: they could not be made equal within `wait_seconds`.
        """
        deadline = time.monotonic() + wait_seconds
        return sum(
            self._correct(window, unsettled, deadline) for window in self._windows(first, end)
        )

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _windows(self, first: datetime, end: datetime) -> Iterator["_Window"]:
        """The stretches that are compared key by key: at most a day each, of whole buckets.

        Of several days only those whose fingerprints differ.
        """
        kept = kept_from(self._connected())
        # Quarters first: what is added to them flows on into the days.
        for comparison in (QUARTERS, DAYS):
            whole = _Window.around(comparison, first, end)
            if kept is not None and kept > whole.first:
                whole = replace(whole, first=kept)
            if whole.first >= whole.end:
                continue
            if whole.end - whole.first <= _DAY:
                yield whole
            else:
                yield from map(whole.of_day, self._suspects(whole))

    def _suspects(self, window: "_Window") -> list[datetime]:
        """The days of the window on which something differs, or is being written."""
        origin, rollup = (
            {day: number for day, number in self._query(sql, window)}
            for sql in window.comparison.fingerprints()
        )
        days = origin.keys() | rollup.keys()
        differ = (day for day in sorted(days) if origin.get(day, 0) != rollup.get(day, 0))
        return [datetime.fromtimestamp(day, UTC) for day in differ]

    def _correct(self, window: "_Window", unsettled: Unsettled, deadline: float) -> int:
        written = 0
        while True:
            states, differing = self._real(window, unsettled, deadline)
            if not differing:
                return written
            # A crash after this leaves some keys right and some not yet: the next run goes on.
            self._insert(window, sorted(states)[:MAX_KEYS])
            left, _ = self._states(window, ())
            mended = len(states - left.keys())
            if mended:
                _tell_corrected(window, mended)
            elif time.monotonic() >= deadline:
                raise NotQuietError(_not_quiet(window))
            else:  # another corrector was at it: not at the same time again
                time.sleep(PAUSE_SECONDS * random.uniform(0, 4))
            written += mended

    def _real(
        self, window: "_Window", unsettled: Unsettled, deadline: float
    ) -> tuple[set[int], bool]:
        """The states of the keys that really differ; and whether any key differs at all.

        A key really differs when
        1. a first look finds it differing,
        2. then every insert has ended that was running at a moment after that look,
        3. and a second look finds the very same numbers on both sides.
        An insert whose raw rows were seen in the first look, but not its views, ran on until 2 or
        its views have landed: the rollup's numbers have changed. One whose raw rows landed between
        the looks has changed the raw numbers. Either way the state is another. Later inserts add
        the same to both sides, so the difference stays what it is.

        Waits until there is such a key, or until nothing differs.
        """
        before, differing = self._states(window, unsettled())
        while differing:
            self._await_running_inserts(deadline, window)
            after, differing = self._states(window, unsettled())
            if real := before.keys() & after.keys():
                return set(real), True
            if time.monotonic() >= deadline:
                raise NotQuietError(_not_quiet(window))
            time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
            before = after
        return set(), False

    def _states(
        self, window: "_Window", unsettled: Sequence[Stretch]
    ) -> tuple[dict[int, None], bool]:
        """The states of the keys that differ and are settled; whether any differs, settled or not.

        At most `MAX_KEYS`, always the same first ones.
        """
        rows = self._query(
            f"SELECT state, unsettled FROM ({window.comparison.differing(unsettled)})"
            f" ORDER BY unsettled > 0, state LIMIT {MAX_KEYS}",
            window,
        )
        return {int(state): None for state, waiting in rows if not waiting}, bool(rows)

    def _insert(self, window: "_Window", states: Sequence[int]) -> None:
        if not states:
            return
        client = self._connected()
        # A name of its own for each statement: ClickHouse must not take the next correction of
        # equal content (a row was deleted again) for this one. Sent twice by the client it adds
        # nothing, because the states have changed by then.
        token = f"correction:{uuid.uuid4().hex}"
        mark = f"{MARK} in {self._address.database}"
        client.command(
            window.comparison.insert_corrections(states, mark, Processes.of(client).table),
            parameters=window.parameters,
            settings={**_SETTINGS, "insert_deduplication_token": token},
        )

    def _await_running_inserts(self, deadline: float, window: "_Window") -> None:
        client = self._connected()
        processes = Processes.of(client)
        running = processes.inserts(client)
        while running:
            if time.monotonic() >= deadline:
                raise NotQuietError(_not_quiet(window))
            time.sleep(PAUSE_SECONDS)
            running &= processes.inserts(client)

    def _described(self, window: "_Window", states: Sequence[int]) -> list[Difference]:
        sums = [f"{side}_{column}" for side in ("raw", "rolled") for column in (*SUMS, "cost")]
        columns = ("bucket", *KEYS, *sums)
        rows = self._query(
            f"SELECT {', '.join(columns)} FROM ({window.comparison.differing(())})"
            f" WHERE state IN ({', '.join(map(str, states))}) ORDER BY bucket, {', '.join(KEYS)}",
            window,
        )
        table = window.comparison.table
        return [_difference(table, dict(zip(columns, row, strict=True))) for row in rows]

    def _query(self, sql: str, window: "_Window") -> Sequence[Sequence[Any]]:
        result = self._connected().query(
            sql, parameters=window.parameters, settings=dict(_SETTINGS)
        )
        rows: Sequence[Sequence[Any]] = result.result_rows
        return rows

    def _connected(self) -> "Client":
        if self._client is None:
            self._client = connect(
                self._address, connect_timeout=5, send_receive_timeout=self._seconds
            )
        return self._client


@dataclass(frozen=True, slots=True)
class _Window:
    comparison: Comparison
    first: datetime
    end: datetime

    @classmethod
    def around(cls, comparison: Comparison, first: datetime, end: datetime) -> Self:
        """`first` … `end`, widened to whole buckets."""
        last = comparison.bucket_of(end - timedelta(microseconds=1))
        return cls(comparison, comparison.bucket_of(first), last + comparison.width)

    def of_day(self, day: datetime) -> Self:
        """What the window has of that UTC day."""
        return replace(self, first=max(self.first, day), end=min(self.end, day + _DAY))

    def has(self, moment: datetime) -> bool:
        return self.first <= moment < self.end

    @property
    def parameters(self) -> dict[str, Any]:
        return {"first": self.first, "end": self.end}


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


def _tell_corrected(window: "_Window", keys: int) -> None:
    log.info(
        "rollup_corrected",
        table=window.comparison.table,
        first=window.first.isoformat(),
        end=window.end.isoformat(),
        keys=keys,
    )


def _not_quiet(window: "_Window") -> str:
    return (
        f"{window.comparison.table} from {window.first:%Y-%m-%d %H:%M} to "
        f"{window.end:%Y-%m-%d %H:%M} UTC could not be compared: the keys that differ were being "
        "written all the time. Repeat it when less is written, or wait longer."
    )

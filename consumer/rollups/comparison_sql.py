"""Generates the SQL that compares a rollup with its origin, and the SQL that adds the difference.

The SQL is generated, not read from files, because each statement repeats some 30 columns.

A difference alone proves nothing. An insert writes the raw table first and the rollups a moment
later, so a key that is being written differs without being wrong. `real_differences` decides which
differences are real, by the hash of a key's whole state that is computed here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

KEYS: Final = (
    "customer_id",
    "team_id",
    "user_id",
    "source",
    "api_key_id",
    "provider",
    "model",
)
SUMS: Final = (
    "requests",
    "failures",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "unpriced_requests",
    "missing_requests",
    "partial_requests",
    "inconsistent_requests",
    "failures_without_usage",
)
# What one raw row adds to the columns that are not the sum of a raw column. The prefix `events.`
# prevents that ClickHouse resolves a name to an alias.
_ROW_OF_EVENTS: Final = {
    "requests": "toUInt64(events.part = 0)",
    "failures": "toUInt64(events.failed AND events.part = 0)",
    "unpriced_requests": "toUInt64(events.cost IS NULL)",
    "missing_requests": "toUInt64(events.usage_quality = 'missing')",
    "partial_requests": "toUInt64(events.usage_quality = 'partial')",
    "inconsistent_requests": "toUInt64(events.usage_quality = 'inconsistent')",
    "failures_without_usage": "toUInt64(events.failed AND events.cost IS NULL"
    " AND events.prompt_tokens = 0 AND events.completion_tokens = 0 AND events.total_tokens = 0"
    " AND arraySum(mapValues(events.units)) = 0)",
}
_OF_EVENTS: Final = {
    **{column: f"sum({added})" for column, added in _ROW_OF_EVENTS.items()},
    "first_occurred_at": "min(events.occurred_at)",
    "last_occurred_at": "max(events.occurred_at)",
    "last_stored_at": "max(events.stored_at)",
}
_SPANS: Final = {"first_occurred_at": "min", "last_occurred_at": "max", "last_stored_at": "max"}


class UnsettledOffsets(NamedTuple):
    """Offsets whose insert may still be repeated: all of the partition from `first` on."""

    topic_id: str
    partition: int
    first: int


@dataclass(frozen=True, slots=True)
class ComparisonSql:
    """The SQL for one rollup table and its origin: the raw table, or a finer rollup."""

    table: str
    origin: str
    start: str  # function from a time to the start of its bucket
    time: str  # the time column of the origin
    width: timedelta  # of a bucket

    def bucket_of(self, moment: datetime) -> datetime:
        """The start of the bucket that contains `moment` (UTC)."""
        seconds = self.width.total_seconds()
        return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)

    def differences(self, unsettled: Sequence[UnsettledOffsets]) -> str:
        """SELECT: one row for each bucket and key that differs in `first` … `end` (parameters).

        `raw_…` columns are the correct sums, `rolled_…` the sums in the rollup. `state` is a hash
        of both: equal states are equal numbers on both sides. The column `unsettled` counts the
        raw rows at the given unsettled offsets.
        """
        raw = [f"sumIf({column}, side = 0) AS raw_{column}" for column in (*SUMS, "cost")]
        rolled = [f"sumIf({column}, side = 1) AS rolled_{column}" for column in (*SUMS, "cost")]
        # min and max over both sides: an added row with them changes neither side.
        spans = [f"{function}({column}) AS {column}_" for column, function in _SPANS.items()]
        differs = [f"raw_{column} != rolled_{column}" for column in SUMS]
        # NULL is "no cost known", on both sides. An added row cannot turn a sum into NULL again, so
        # a rollup with 0 where raw has NULL is not a difference.
        differs.append("ifNull(raw_cost, 0) != ifNull(rolled_cost, 0)")
        differs.append("(raw_cost IS NOT NULL AND rolled_cost IS NULL)")
        keys = ", ".join(("bucket", *KEYS))
        sides = [self._origin_side(), self._rollup_side()]
        if unsettled:
            sides.append(self._unsettled_side(unsettled))
        return (
            f"SELECT {keys}, {', '.join((*raw, *rolled, *spans))},"
            " sum(unsettled_rows) AS unsettled,"
            f" cityHash64({keys}, {_hashed()}) AS state"
            f" FROM ({' UNION ALL '.join(sides)})"
            f" GROUP BY {keys} HAVING {' OR '.join(differs)}"
        )

    def fingerprints(self) -> tuple[str, str]:
        """Two SELECTs, one of the origin and one of the rollup: a number for each UTC day.

        Equal numbers mean equal sums of every key in every bucket of the day (a collision has a
        chance of one in 2^64). The number adds up, over all rows, the hash of the key times a
        weighted sum of the columns, so rows that were summed before give the same number. One pass
        without memory, where a comparison keeps every key.
        """
        of_raw = _ROW_OF_EVENTS if self.origin == "usage_events" else {}
        return (
            self._fingerprint(self.origin, self.time, of_raw),
            self._fingerprint(self.table, "bucket", {}),
        )

    def _fingerprint(self, table: str, moment: str, of: Mapping[str, str]) -> str:
        mix = [f"{_factor(column)} * {of.get(column, f'events.{column}')}" for column in SUMS]
        mix.append(f"{_factor('cost')} * toUInt64(reinterpretAsInt128(ifNull(events.cost, 0)))")
        keys = ", ".join(f"events.{key}" for key in KEYS)
        bucket = f"{self.start}(toDateTime(events.{moment}, 'UTC'))"
        return (
            f"SELECT toUnixTimestamp(toStartOfDay(toDateTime(events.{moment}, 'UTC'))) AS day,"
            f" sum(cityHash64({bucket}, {keys}) * ({' + '.join(mix)}))"
            f" FROM {table} AS events"
            f" WHERE {_between(moment)}"
            " GROUP BY day"
        )

    def insert_differences(self, states: Sequence[int], marker: str, processes: str) -> str:
        """INSERT of raw minus rollup, for the keys whose state is one of `states`.

        The server compares again while it inserts, so a key that has changed since is skipped,
        even if the statement arrives late. It inserts nothing while another such statement runs
        (its text contains `marker` too), because two of them would each add the difference.

        `processes` is the table of running queries. It shows queries without comments and cut to
        100,000 characters (`log_queries_cut_to_length`), so the marker is a literal near the start.
        """
        sums = [f"toUInt64(raw_{column} - rolled_{column}) AS {column}_" for column in SUMS]
        cost = (
            "if(raw_cost IS NULL AND rolled_cost IS NULL, NULL,"
            " ifNull(raw_cost, 0) - ifNull(rolled_cost, 0)) AS cost_"
        )
        columns = ", ".join(("bucket", *KEYS, *SUMS, "cost", *_SPANS))
        spans = ", ".join(f"{column}_" for column in _SPANS)
        return (
            f"INSERT INTO {self.table} ({columns})"
            f" WITH (SELECT count() FROM {processes} WHERE position(query, '{marker}') > 0)"
            " AS running"
            f" SELECT bucket, {', '.join(KEYS)}, {', '.join(sums)}, {cost}, {spans}"
            f" FROM ({self.differences(())}) WHERE state IN ({', '.join(map(str, states))})"
            " AND running = 1"
        )

    def _origin_side(self) -> str:
        raw = self.origin == "usage_events"
        of = _OF_EVENTS if raw else {name: f"{way}(events.{name})" for name, way in _SPANS.items()}
        columns = (*SUMS, "cost", *_SPANS)
        made = [f"{of.get(column, f'sum(events.{column})')} AS {column}" for column in columns]
        return (
            f"SELECT {self.start}(toDateTime(events.{self.time}, 'UTC')) AS bucket,"
            f" {', '.join(KEYS)}, 0 AS side, {', '.join(made)},"
            " 0 AS unsettled_rows"
            f" FROM {self.origin} AS events"
            f" WHERE {_between(self.time)}"
            f" GROUP BY bucket, {', '.join(KEYS)}"
        )

    def _rollup_side(self) -> str:
        sums = [f"sum(sums.{column}) AS {column}" for column in (*SUMS, "cost")]
        spans = [f"{function}(sums.{column}) AS {column}" for column, function in _SPANS.items()]
        return (
            f"SELECT sums.bucket AS bucket, {', '.join(KEYS)}, 1 AS side,"
            f" {', '.join((*sums, *spans))}, 0 AS unsettled_rows"
            f" FROM {self.table} AS sums"
            " WHERE sums.bucket >= {first:DateTime('UTC')} AND sums.bucket < {end:DateTime('UTC')}"
            f" GROUP BY bucket, {', '.join(KEYS)}"
        )

    def _unsettled_side(self, unsettled: Sequence[UnsettledOffsets]) -> str:
        """The raw rows at the unsettled offsets, read by primary key, for both rollups."""
        sums = [f"sumIf(events.total_tokens, 0) AS {column}" for column in SUMS]
        spans = [f"{_OF_EVENTS[column]} AS {column}" for column in _SPANS]
        return (
            f"SELECT {self.start}(toDateTime(events.occurred_at, 'UTC')) AS bucket,"
            f" {', '.join(KEYS)}, 2 AS side, {', '.join(sums)}, sumIf(events.cost, 0) AS cost,"
            f" {', '.join(spans)}, count() AS unsettled_rows"
            " FROM usage_events AS events"
            f" WHERE ({' OR '.join(map(_condition, unsettled))})"
            f" AND {_between('occurred_at')}"
            f" GROUP BY bucket, {', '.join(KEYS)}"
        )


QUARTERS: Final = ComparisonSql(
    table="rollup_usage_15m",
    origin="usage_events",
    start="toStartOfFifteenMinutes",
    time="occurred_at",
    width=timedelta(minutes=15),
)
DAYS: Final = ComparisonSql(
    table="rollup_usage_1d",
    origin="rollup_usage_15m",
    start="toStartOfDay",
    time="bucket",
    width=timedelta(days=1),
)


def _between(column: str) -> str:
    """A condition on the origin's time, in the type of the column.

    Another type causes an error in the engine: it is handled, but counted in `system.errors`.
    """
    first, end = "{first:DateTime('UTC')}", "{end:DateTime('UTC')}"
    if column == "occurred_at":
        first, end = (f"toDateTime64({moment}, 3, 'UTC')" for moment in (first, end))
    return f"events.{column} >= {first} AND events.{column} < {end}"


def _factor(column: str) -> int:
    """A fixed odd 64-bit weight of a column: equal sums in two columns have different products."""
    return int.from_bytes(hashlib.sha256(column.encode()).digest()[:8]) | 1


def _hashed() -> str:
    """Everything that a key's state consists of; a hash of null would be null."""
    sums = [f"{side}_{column}" for side in ("raw", "rolled") for column in SUMS]
    costs = [f"ifNull(toString({side}_cost), '')" for side in ("raw", "rolled")]
    return ", ".join([*sums, *costs, *(f"{column}_" for column in _SPANS)])


def _condition(offsets: UnsettledOffsets) -> str:
    topic_id = offsets.topic_id.replace("\\", "\\\\").replace("'", "\\'")
    return (
        f"(events.kafka_topic_id = '{topic_id}' AND events.kafka_partition = {offsets.partition:d}"
        f" AND events.kafka_offset >= {offsets.first:d})"
    )

"""The scratch tables of the preflight: made, filled, counted and dropped.

Their names hold the time of their creation and are random, so workers that start together do not
meet. A killed worker leaves its tables, and a later preflight drops them when they are old. The
name decides their age: some databases report every table as changed in 1970.
"""

import json
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from usagepipe.schemas.clickhouse.client import error_code

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ROWS: Final = 10
LEFTOVER_MINUTES: Final = 60  # far longer than a preflight, and than clocks differ

# The tables. A bare one has no deduplication window.
BARE_RAW: Final = "bare_raw"
RAW: Final = "raw"
BARE_ROLLUP: Final = "bare_rollup"
ROLLUP: Final = "rollup"
DAYS: Final = "days"

_NAME: Final = "usagepipe_preflight_"
_COLUMNS: Final = ("case_name", "item", "attempt")
_THREW: Final = 395  # FUNCTION_THROW_IF_VALUE_IS_NON_ZERO

# Tries differ in what they bring (`attempt`) and in what is added (`stored_at`): else ClickHouse's
# hash of the content, made before defaults or after them, would hide that a token is ignored.
_RAW_TABLE: Final = """
CREATE TABLE {name}
(case_name String, item UInt8, attempt UInt8, stored_at DateTime64(6) DEFAULT now64(6))
ENGINE = {replicated}MergeTree ORDER BY (case_name, item)
SETTINGS {windows}"""
_ROLLUP_TABLE: Final = """
CREATE TABLE {name} (case_name String, item UInt8, requests SimpleAggregateFunction(sum, UInt64))
ENGINE = {replicated}AggregatingMergeTree ORDER BY (case_name, item)
SETTINGS {windows}"""
_WINDOWS: Final = (
    "non_replicated_deduplication_window = {blocks}, replicated_deduplication_window = {blocks}, "
    "replicated_deduplication_window_seconds = 3600"
)
# It throws when an insert asks for it, so that the same insert without it can complete the view.
# With `item` in it the question is asked of each row, when the insert has begun.
_VIEW: Final = """
CREATE MATERIALIZED VIEW {name} TO {target}
AS SELECT case_name, item, {requests} AS requests
FROM {source} AS source
WHERE throwIf(getSetting('log_comment') = '{target}' AND item < 255) = 0
GROUP BY case_name, item"""
# Older versions wrote no time into the name; their tables have only what the database reports.
_LEFTOVERS: Final = """
WITH if(
    match(name, '^usagepipe_preflight_[0-9]{10}_'),
    toUInt32OrZero(substring(name, 21, 10)),
    toUnixTimestamp(metadata_modification_time)
) AS made
SELECT name FROM system.tables
WHERE database = currentDatabase()
    AND match(name, '^usagepipe_preflight_([0-9]{10}_)?[0-9a-f]{16}_')
    AND made > 0 AND made < toUnixTimestamp(now() - toIntervalMinute({minutes:UInt32}))"""


class Scratch:
    """Two raw tables and their rollups, with windows and without, and a rollup of a rollup."""

    def __init__(
        self, client: "Client", settings_of_insert: Mapping[str, str | int], *, replicated: bool
    ) -> None:
        self._client = client
        self._settings = settings_of_insert
        self._engine = "Replicated" if replicated else ""
        self._run = f"{int(time.time()):010}_{secrets.token_hex(8)}"
        self._made: list[str] = []

    def make(self) -> None:
        """Make tables and views. Blocks, as all methods do."""
        self._make_table(_RAW_TABLE, BARE_RAW, blocks=0)
        self._make_table(_RAW_TABLE, RAW, blocks=1_000)
        self._make_table(_ROLLUP_TABLE, BARE_ROLLUP, blocks=0)
        self._make_table(_ROLLUP_TABLE, ROLLUP, blocks=1_000)
        self._make_table(_ROLLUP_TABLE, DAYS, blocks=1_000)
        self._make_view(BARE_RAW, BARE_ROLLUP, "count()")
        self._make_view(RAW, BARE_ROLLUP, "count()")
        self._make_view(RAW, ROLLUP, "count()")
        self._make_view(ROLLUP, DAYS, "sum(source.requests)")

    def insert(
        self, table: str, case: str, attempt: int, token: str, changed: Mapping[str, str | int]
    ) -> None:
        """Insert the rows of `case` as the worker inserts a batch.

        `changed` are settings that win over those of the worker.
        """
        rows = (
            json.dumps({"case_name": case, "item": item, "attempt": attempt})
            for item in range(ROWS)
        )
        named = {"insert_deduplication_token": f"{self._run}:{case}:{token}"}
        self._client.raw_insert(
            self._name(table),
            column_names=_COLUMNS,
            # Of bytes, the client would repeat an insert whose connection was lost.
            insert_block=cast(bytes, memoryview("\n".join(rows).encode())),
            settings={**self._settings, **named, **changed},
            fmt="JSONEachRow",
        )

    def insert_throwing(
        self, table: str, case: str, attempt: int, token: str, view_into: str
    ) -> bool:
        """Insert as `insert` does, while the views into the table `view_into` throw.

        False: the server took the insert as if nothing had happened.
        """
        from clickhouse_connect.driver.exceptions import Error

        try:
            self.insert(table, case, attempt, token, {"log_comment": self._name(view_into)})
        except Error as error:
            if error_code(error) != _THREW:
                raise
            return True
        return False

    def rows(self) -> dict[tuple[str, str], int]:
        """How many inserted rows each table has counted, by table and case."""
        counted = {BARE_RAW: "count()", RAW: "count()"}
        counted |= dict.fromkeys((BARE_ROLLUP, ROLLUP, DAYS), "sum(requests)")
        selects = (
            f"SELECT '{table}', case_name, {rows} FROM {self._name(table)} GROUP BY case_name"
            for table, rows in counted.items()
        )
        found = self._client.query(" UNION ALL ".join(selects)).result_rows
        return {(table, case): int(rows) for table, case, rows in found}

    def drop(self) -> None:
        """Drop what was made, views first."""
        self._drop(self._made[::-1])
        self._made.clear()

    def drop_leftovers(self) -> None:
        """Drop the old tables of workers that were killed."""
        found = self._client.query(_LEFTOVERS, parameters={"minutes": LEFTOVER_MINUTES})
        self._drop([name for (name,) in found.result_rows])

    def _drop(self, names: list[str]) -> None:
        if names:
            self._client.command(f"DROP TABLE IF EXISTS {', '.join(names)}")

    def _name(self, role: str) -> str:
        return f"{_NAME}{self._run}_{role}"

    def _make_table(self, statement: str, role: str, *, blocks: int) -> None:
        windows = _WINDOWS.format(blocks=blocks)
        self._make(role, statement, replicated=self._engine, windows=windows)

    def _make_view(self, source: str, target: str, requests: str) -> None:
        names = {"source": self._name(source), "target": self._name(target)}
        self._make(f"{source}_into_{target}", _VIEW, requests=requests, **names)

    def _make(self, role: str, statement: str, **words: str) -> None:
        name = self._name(role)
        self._made.append(name)  # before: the answer may get lost
        self._client.command(statement.format(name=name, **words))

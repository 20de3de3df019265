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
from usagepipe.schemas.clickhouse.sql_files import fill, read_fragment, read_sql

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
_PACKAGE: Final = "usagepipe.consumer.preflight"


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
        """Create tables and views. Blocks, as all methods do."""
        self._make_table("scratch_raw_table", BARE_RAW, blocks=0)
        self._make_table("scratch_raw_table", RAW, blocks=1_000)
        self._make_table("scratch_rollup_table", BARE_ROLLUP, blocks=0)
        self._make_table("scratch_rollup_table", ROLLUP, blocks=1_000)
        self._make_table("scratch_rollup_table", DAYS, blocks=1_000)
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
        leftovers = read_sql(_PACKAGE, "scratch_leftovers")
        found = self._client.query(leftovers, parameters={"minutes": LEFTOVER_MINUTES})
        self._drop([name for (name,) in found.result_rows])

    def _drop(self, names: list[str]) -> None:
        if names:
            self._client.command(f"DROP TABLE IF EXISTS {', '.join(names)}")

    def _name(self, role: str) -> str:
        return f"{_NAME}{self._run}_{role}"

    def _make_table(self, statement: str, role: str, *, blocks: int) -> None:
        windows = fill(read_fragment(_PACKAGE, "scratch_windows"), {"blocks": str(blocks)})
        self._make(role, statement, replicated=self._engine, windows=windows)

    def _make_view(self, source: str, target: str, requests: str) -> None:
        names = {"source": self._name(source), "target": self._name(target)}
        self._make(f"{source}_into_{target}", "scratch_view", requests=requests, **names)

    def _make(self, role: str, statement: str, **words: str) -> None:
        name = self._name(role)
        self._made.append(name)  # before: the answer may get lost
        self._client.command(fill(read_sql(_PACKAGE, statement), {"name": name, **words}))

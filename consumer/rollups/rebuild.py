"""Rebuilds rollup buckets from the raw rows, by inserting the difference.

Rows of a rollup are never deleted and written again. A row of raw minus rollup is added, so a
reader sees the old sum or the right one. UInt64 sums wrap, so a row can also stand for "minus
three". The trap: between the raw rows of an insert and its views, every key it touches differs for
a moment. Inserting that difference would count it twice. See `real_differences`.
"""

import random
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog

from usagepipe.consumer.rollups.real_differences import (
    PAUSE_SECONDS,
    check_deadline,
    real_differences,
)
from usagepipe.consumer.rollups.running_inserts import Processes
from usagepipe.consumer.rollups.tables import (
    MAX_KEYS,
    RollupTables,
    Unsettled,
    Window,
    nothing_unsettled,
)
from usagepipe.schemas.settings import ClickHouseAddress

log = structlog.get_logger()

MARKER: Final = "usagepipe: rebuild of a rollup"


class RollupRebuilder:
    """Makes the rollups equal to the raw rows. Blocks. Each thread needs its own."""

    def __init__(self, address: ClickHouseAddress, seconds: float) -> None:
        """Connects at the first call. `seconds` is the timeout of one statement."""
        self._tables = RollupTables(address, seconds)

    def close(self) -> None:
        self._tables.close()

    def rebuild(
        self,
        first: datetime,
        end: datetime,
        wait_seconds: float,
        *,
        unsettled: Unsettled = nothing_unsettled,
    ) -> int:
        """Make the rollups equal to raw for events of `first` <= occurred_at < `end`.

        The range is widened to whole buckets. Returns the number of inserted rows. Several
        rebuilds at once are safe, and so is one that is killed or paused at any point.

        Raises:
            RollupsBusyError: the keys that differ were being written for `wait_seconds`.
            clickhouse_connect's Error: ClickHouse is unreachable, or refused.
        """
        deadline = time.monotonic() + wait_seconds
        return sum(
            self._rebuild(window, unsettled, deadline)
            for window in self._tables.windows(first, end)
        )

    def _rebuild(self, window: Window, unsettled: Unsettled, deadline: float) -> int:
        written = 0
        while True:
            states, any_differs = real_differences(self._tables, window, unsettled, deadline)
            if not any_differs:
                return written
            # A crash after this leaves some keys right and some not: the next run continues.
            self._insert(window, sorted(states)[:MAX_KEYS])
            left, _ = self._tables.differing_keys(window, ())
            rebuilt = len(states - left)
            if rebuilt:
                _log_rebuilt(window, rebuilt)
            else:  # perhaps another rebuild was running: do not collide with it again
                check_deadline(window, deadline)
                time.sleep(PAUSE_SECONDS * random.uniform(0, 4))
            written += rebuilt

    def _insert(self, window: Window, states: Sequence[int]) -> None:
        if not states:
            return
        # A token of its own for each statement: a later insert of equal content (a row was deleted
        # again) is no duplicate for ClickHouse. If the client sends one statement twice, the second
        # adds nothing, because the states have changed by then.
        token = f"rebuild:{uuid.uuid4().hex}"
        marker = f"{MARKER} in {self._tables.database}"
        processes = Processes.of(self._tables.client()).table
        self._tables.insert(window.sql.insert_differences(states, marker, processes), window, token)


def _log_rebuilt(window: Window, keys: int) -> None:
    log.info(
        "rollup_rebuilt",
        table=window.sql.table,
        first=window.first.isoformat(),
        end=window.end.isoformat(),
        keys=keys,
    )

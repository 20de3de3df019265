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
from usagepipe.consumer.rollups.tables import RollupTables, Unsettled, Window

log = structlog.get_logger()

MARKER: Final = "usagepipe: rebuild of a rollup"


def rebuild_rollups(
    tables: RollupTables,
    first: datetime,
    end: datetime,
    wait_seconds: float,
    unsettled: Unsettled = lambda: (),
) -> int:
    """Make the rollups equal to raw for events of `first` <= occurred_at < `end`. Blocks.

    The range is widened to whole buckets. Returns the number of inserted rows. Several rebuilds at
    once are safe, and so is one that is killed or paused at any point.

    Raises:
        RollupsBusyError: the keys that differ were being written for `wait_seconds`.
        clickhouse_connect's Error: ClickHouse is unreachable, or refused.
    """
    deadline = time.monotonic() + wait_seconds
    return sum(
        _rebuild(tables, window, unsettled, deadline) for window in tables.windows(first, end)
    )


def _rebuild(tables: RollupTables, window: Window, unsettled: Unsettled, deadline: float) -> int:
    written = 0
    while states := real_differences(tables, window, unsettled, deadline):
        # A crash after this leaves some keys right and some not: the next run continues.
        _insert(tables, window, sorted(states))
        left, _ = tables.differing_keys(window, ())
        rebuilt = len(states - left)
        if rebuilt:
            _log_rebuilt(window, rebuilt)
        else:  # perhaps another rebuild was running: do not collide with it again
            check_deadline(window, deadline)
            time.sleep(PAUSE_SECONDS * random.uniform(0, 4))
        written += rebuilt
    return written


def _insert(tables: RollupTables, window: Window, states: Sequence[int]) -> None:
    # A token of its own for each statement: a later insert of equal content (a row was deleted
    # again) is no duplicate for ClickHouse. If the client sends one statement twice, the second
    # adds nothing, because the states have changed by then.
    token = f"rebuild:{uuid.uuid4().hex}"
    marker = f"{MARKER} in {tables.database}"
    processes = Processes.of(tables.client.get()).table
    tables.insert(window.sql.insert_differences(states, marker, processes), window, token)


def _log_rebuilt(window: Window, keys: int) -> None:
    log.info(
        "rollup_rebuilt",
        table=window.sql.table,
        first=window.first.isoformat(),
        end=window.end.isoformat(),
        keys=keys,
    )

"""Finds keys of a rollup that really differ from its origin, and are not just being written.

Only this module knows why a rollup may be changed while workers insert.
"""

import random
import time
from typing import Final

from usagepipe.consumer.rollups.running_inserts import Processes
from usagepipe.consumer.rollups.tables import RollupTables, Unsettled, Window
from usagepipe.schemas.errors import RollupsBusyError

PAUSE_SECONDS: Final = 0.05


def real_differences(
    tables: RollupTables, window: Window, unsettled: Unsettled, deadline: float
) -> set[int]:
    """The states of keys that really differ. Returns when there is one, or when no key differs.

    A key really differs if

    1. a first comparison finds that it differs,
    2. then every insert ends that was running at some moment after that comparison,
    3. and a second comparison finds exactly the same numbers on both sides.

    Suppose that an insert's raw rows were in the first comparison but not yet in its views. Then it
    ran on until 2, so the rollup's numbers have changed. Suppose that its raw rows arrived between
    the two comparisons. Then the raw numbers have changed. Either way the state is another one.
    Later inserts add the same to both sides, so the difference stays.

    `unsettled` is called before every comparison. It returns the offsets whose insert may still be
    repeated: such an insert may have written its raw rows, failed in a view, and be waiting for its
    retry, while no statement runs. Keys with such rows are skipped until they are settled.

    Raises:
        RollupsBusyError: the keys that differ were being written until `deadline`, a time of
            `time.monotonic()`.
    """
    before, any_differs = tables.differing_keys(window, unsettled())  # 1.
    while any_differs:
        _await_running_inserts(tables, window, deadline)  # 2.
        after, any_differs = tables.differing_keys(window, unsettled())  # 3.
        if real := before & after:
            return real
        check_deadline(window, deadline)
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
        before = after
    return set()


def check_deadline(window: Window, deadline: float) -> None:
    """Raise `RollupsBusyError` after the deadline."""
    if time.monotonic() >= deadline:
        raise RollupsBusyError(
            f"{window} could not be compared: the keys that differ were being written all the time."
            " Repeat it when less is written, or wait longer."
        )


def _await_running_inserts(tables: RollupTables, window: Window, deadline: float) -> None:
    client = tables.client.get()
    processes = Processes.of(client)
    running = processes.inserts(client)
    while running:
        check_deadline(window, deadline)
        time.sleep(PAUSE_SECONDS)
        running &= processes.inserts(client)

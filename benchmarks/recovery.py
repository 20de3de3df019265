"""How long nothing new is stored after `kill -9`, when a supervisor starts the worker again."""

import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.drain import count_rows, limit_seconds, running
from benchmarks.world import World
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# An insert that was under way at the kill may still land: such rows are not of the new worker,
# which takes longer than this to start.
LANDING_SECONDS: Final = 1.0
_STORED_AFTER: Final = (
    "SELECT min(toUnixTimestamp64Milli(stored_at)) FROM usage_events"
    " WHERE stored_at > fromUnixTimestamp64Milli({moment:Int64})"
)


def measure_recovery(world: World, events: int) -> dict[str, Any]:
    """Seconds from the kill, in the middle of the backlog, to the new worker's first row."""
    limit = limit_seconds(events)
    with world.database() as (settings, client):
        with running(world, "worker", settings):
            eventually(lambda: count_rows(client) >= events / 4, limit, "a quarter stored")
            killed = time.time()
        stored = count_rows(client)
        with running(world, "worker", settings):
            after = int((killed + LANDING_SECONDS) * 1000)
            first = eventually(lambda: _first_row(client, after), limit, "a new row")
            eventually(lambda: count_rows(client) >= events, limit, "every event stored")
            drained = time.time()
        rows = count_rows(client)
    return {
        "first_new_row_seconds": first / 1000 - killed,
        "all_stored_seconds": drained - killed,
        "rows_at_the_kill": stored,
        "rows": rows,
        "exact": rows == events,
    }


def _first_row(client: "Client", after: int) -> int:
    ((first,),) = client.query(_STORED_AFTER, parameters={"moment": after}).result_rows
    return int(first)

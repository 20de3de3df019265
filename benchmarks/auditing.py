"""How long `usagepipe audit` takes over a topic that a worker has stored."""

import subprocess
import time
from typing import Any, Final

from benchmarks.drain import count_rows, limit_seconds, running
from benchmarks.world import World
from tests.support.programs import BIN, as_environment, clean_environment
from tests.support.waiting import eventually

COMMITTED_SECONDS: Final = 10.0  # a worker that stops acknowledges what it has stored


def measure_audit(world: World, events: int) -> dict[str, Any]:
    """Seconds from the start of the command to its answer, which must be that all balances."""
    with world.database() as (settings, client):
        with running(world, "worker", settings) as (worker,):
            eventually(lambda: count_rows(client) >= events, limit_seconds(events), "all stored")
            worker.stop(COMMITTED_SECONDS + settings.drain_seconds)
        began = time.monotonic()
        ended = subprocess.run(
            [str(BIN / "usagepipe"), "audit"],
            env=clean_environment() | as_environment(settings),
            capture_output=True,
            text=True,
            timeout=limit_seconds(events),
            check=False,
        )
        seconds = time.monotonic() - began
        rows = count_rows(client)
    return {
        "seconds": seconds,
        "rows": rows,
        "balanced": ended.returncode == 0,
    }

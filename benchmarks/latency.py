"""How long after `record()` an event can be queried, at a steady rate.

An event counts as queryable when a query of the raw table sees it. A probe asks every 50
milliseconds for the last offset of each partition: offsets of a partition become visible in their
order, so one small answer dates every event up to it. `record()` is dated by `occurred_at`, which
is minted right before it and cut to the millisecond, so a latency is overstated by up to 1 ms and
by the probe's own interval.
"""

import statistics
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from benchmarks.drain import count_rows, running
from benchmarks.events import fill, usage_events
from benchmarks.world import ROOT, World
from tests.support.programs import Program, as_environment, clean_environment
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

RATE: Final = 1_000  # events a second
SECONDS: Final = 30
WARM_SECONDS: Final = 3  # at the same rate before, not counted
FIRST: Final = 1_000  # tell that the worker is up
PROBE_SECONDS: Final = 0.05  # an answer takes ClickHouse 4 to 8 ms of a core
LAST_OFFSETS: Final = (
    "SELECT kafka_partition, max(kafka_offset) FROM usage_events GROUP BY kafka_partition"
)
MOMENTS: Final = (
    "SELECT kafka_partition, kafka_offset, toUnixTimestamp64Milli(occurred_at) FROM usage_events"
    " WHERE producer_id != 'bench' AND sequence > {warm:UInt64}"
)

Seen = dict[int, list[tuple[int, float]]]  # partition: offset and the moment it was seen


def measure_latency(world: World) -> dict[str, Any]:
    """Milliseconds from `record()` to queryable: p50, p99 and the largest."""
    with world.database(world.topic()) as (settings, client), running(world, "worker", settings):
        fill(settings.kafka, settings.topic, usage_events(FIRST, 0, 1.2))
        eventually(lambda: count_rows(client) == FIRST, 60, "the worker to be up")
        environment = clean_environment() | as_environment(settings) | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "benchmarks.programs.recording"]
        seconds = WARM_SECONDS + SECONDS
        arguments = [str(RATE), str(seconds)]
        recording = Program([*command, *arguments], environment, world.folder, "recording")
        seen = _watch(client, recording, FIRST + RATE * seconds)
        assert recording.wait() == 0, recording.tail()
        latencies = sorted(_latencies(client, seen))
    return {
        "p50_ms": statistics.median(latencies),
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "max_ms": latencies[-1],
        "events": len(latencies),
        "events_a_second": RATE,
    }


def _watch(client: "Client", recording: Program, events: int) -> Seen:
    seen: Seen = defaultdict(list)
    found = 0
    while found < events:
        for partition, offset in client.query(LAST_OFFSETS).result_rows:
            if not seen[partition] or seen[partition][-1][0] < offset:
                seen[partition].append((offset, time.time() * 1000))
        if recording.status is not None:
            eventually(lambda: count_rows(client) >= events, 60, recording.tail)
            found = sum(places[-1][0] + 1 for places in seen.values())
        time.sleep(PROBE_SECONDS)
    return seen


def _latencies(client: "Client", seen: Seen) -> list[float]:
    rows = client.query(MOMENTS, parameters={"warm": RATE * WARM_SECONDS}).result_rows
    return [_visible(seen[partition], offset) - moment for partition, offset, moment in rows]


def _visible(places: list[tuple[int, float]], offset: int) -> float:
    return next(moment for last, moment in places if last >= offset)

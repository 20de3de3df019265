"""How long the worker's questions to a large raw table take: a range of the log, and its ids.

The rows are made inside of ClickHouse, in the order in which events come: one stretch of offsets
after the other, with ids of their moment.
"""

import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks.world import PARTITIONS, World
from usagepipe.consumer.clickhouse.stored import StoredRows
from usagepipe.schemas import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ROWS: Final = 100_000_000
STRETCH: Final = 1_000_000  # rows of one insert
BATCH: Final = 50_000  # rows, as large as the worker's are by default
TRIES: Final = 30
DEDUP_DAYS: Final = 35
SECONDS: Final = 60.0
TOPIC_ID: Final = "b" * 32
_VIEWS: Final = ("rollup_usage_15m_mv", "rollup_usage_1d_mv", "usage_names_mv")
_FILL: Final = """
INSERT INTO usage_events (event_id, producer_id, occurred_at, user_id, api_key_id, model,
    prompt_tokens, total_tokens, kafka_topic_id, kafka_partition, kafka_offset, ingested_at)
SELECT generateUUIDv7(number), 'bench', now64(3), concat('user-', toString(number % 3000)),
    concat('key-', toString(number % 10000)), 'gpt-5', number % 20000, number % 20000,
    {topic_id:String}, {partition:UInt32}, {first:UInt64} + number, now64(3)
FROM numbers({rows:UInt64})
"""
_IDS: Final = (
    "SELECT toString(event_id) FROM usage_events WHERE kafka_topic_id = {topic_id:String}"
    " AND kafka_partition = {partition:UInt32} AND kafka_offset BETWEEN {first:UInt64}"
    " AND {first:UInt64} + {rows:UInt64} - 1"
)


def measure_lookups(world: World, rows: int = ROWS) -> dict[str, Any]:
    """Milliseconds (median and largest of some random batches) of each question."""
    with world.database(world.topic()) as (settings, client):
        _fill(client, rows)
        return {"rows": rows, "rows_of_a_batch": BATCH} | _ask(settings, client, rows)


def _fill(client: "Client", rows: int) -> None:
    for view in _VIEWS:  # they are not asked
        client.command(f"DROP TABLE {view} SYNC")
    stretches = rows // STRETCH
    for number in range(stretches):
        client.command(
            _FILL,
            parameters={
                "topic_id": TOPIC_ID,
                "partition": number % PARTITIONS,
                "first": number // PARTITIONS * STRETCH,
                "rows": STRETCH,
            },
            settings={"max_insert_threads": 1},
        )


def _ask(settings: Settings, client: "Client", rows: int) -> dict[str, float]:
    stored = StoredRows(settings.clickhouse_address, SECONDS)
    end = rows // STRETCH // PARTITIONS * STRETCH  # of each partition
    rng = random.Random(1)
    took: dict[str, list[float]] = defaultdict(list)
    for _ in range(TRIES):
        partition, first = rng.randrange(PARTITIONS), rng.randrange(end - BATCH)
        place = (TOPIC_ID, partition, first, first + BATCH - 1)
        ids = _ids(client, partition, first)
        took["places"].append(_milliseconds(partial(stored.places, *place)))
        took["last_offset"].append(
            _milliseconds(partial(stored.last_offset, TOPIC_ID, partition, end))
        )
        took["events"].append(_milliseconds(partial(stored.events, ids, DEDUP_DAYS)))
    stored.close()
    medians = {f"{name}_ms": statistics.median(times) for name, times in took.items()}
    return medians | {f"{name}_most_ms": max(times) for name, times in took.items()}


def _ids(client: "Client", partition: int, first: int) -> list[str]:
    """The ids of a batch that is stored."""
    where = {"topic_id": TOPIC_ID, "partition": partition, "first": first, "rows": BATCH}
    return [each for (each,) in client.query(_IDS, parameters=where).result_rows]


def _milliseconds(question: Callable[[], object]) -> float:
    began = time.perf_counter()
    question()
    return (time.perf_counter() - began) * 1000

"""What `encode_rows` alone costs: the worker's own work on an event, its price included."""

import statistics
import time
from itertools import islice
from typing import Any, Final

from benchmarks.prepared import TOPIC_ID, batches
from benchmarks.world import PARTITIONS, World
from usagepipe.consumer.rows.pricing import Pricing
from usagepipe.consumer.rows.rows import encode_rows
from usagepipe.schemas import Settings
from usagepipe.schemas.prices import Pricer, builtin_book
from usagepipe.schemas.settings.storage import CostRule

BATCHES_OF_EACH: Final = 2
TRIES: Final = 5


def measure_encoding(world: World) -> dict[str, Any]:
    """Microseconds of processor time an event: median of several goes over real batches."""
    settings = Settings.load()
    some = [
        batch
        for number in range(PARTITIONS)
        for batch in islice(batches(world.kafka.bootstrap, number, settings), BATCHES_OF_EACH)
    ]
    events = sum(batch.count for batch in some)
    pricing = Pricing(CostRule.REPORTED_FIRST, Pricer(builtin_book()))
    tries = []
    for _ in range(TRIES):
        began = time.process_time()
        for batch in some:
            encode_rows(batch.records(), batch.partition, TOPIC_ID, 0, pricing)
        tries.append((time.process_time() - began) / events * 1e6)
    return {"us": statistics.median(tries), "events": events}

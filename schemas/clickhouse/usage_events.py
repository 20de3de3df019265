"""Names of the raw table and of the columns that an insert writes (`0001_usage_events.sql`)."""

from collections.abc import Mapping
from typing import Final

from usagepipe.schemas.event import UsageEvent

TABLE: Final = "usage_events"
# What the worker adds to an event, with the types of JSON.
COORDINATES: Final[Mapping[str, type]] = {
    "kafka_topic": str,
    "kafka_topic_id": str,
    "kafka_partition": int,
    "kafka_offset": int,
    "batch_epoch": int,
    "ingested_at": str,
}
COLUMNS: Final = (*UsageEvent.model_fields, *COORDINATES)

"""Names of the raw table and of the columns that an insert writes (`0001_usage_events.sql`)."""

from typing import Final

from usagepipe.schemas.event import UsageEvent

TABLE: Final = "usage_events"
COLUMNS: Final = (
    *UsageEvent.model_fields,
    "kafka_topic",
    "kafka_topic_id",
    "kafka_partition",
    "kafka_offset",
    "batch_epoch",
    "ingested_at",
)

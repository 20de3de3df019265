"""The topics: their names, and the settings that they are created with.

Record time is the time of arrival (`LogAppendTime`); the event's own time is inside it. With the
event's time on the record, retention would delete events that were accepted late.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usagepipe.schemas.settings import MigrationSettings

EVENTS_TOPIC = "usage.events.v1"
ARRIVAL = "LogAppendTime"  # the `message.timestamp.type` with which the broker sets the time
MAX_RECORD_BYTES = 1_048_576  # an event is under 200 kB even with every limit reached
# A dead letter is the unchanged record plus headers with the reason: it must always fit.
MAX_DEAD_LETTER_BYTES = MAX_RECORD_BYTES + 65_536


def dead_letter_topic(events_topic: str) -> str:
    """`usage.events.v1` → `usage.events.dlq.v1`: the version stays last."""
    name, dot, version = events_topic.rpartition(".")
    if not dot:
        return f"{events_topic}.dlq"
    return f"{name}.dlq.{version}"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as `usagepipe migrate` creates it."""

    name: str
    partitions: int
    replication: int  # -1: the broker's default
    config: dict[str, str]


def topic_specs(settings: "MigrationSettings") -> tuple[TopicSpec, TopicSpec]:
    """The topic of events and the topic of its dead letters, as the settings want them."""
    common = {
        # Compaction would remove records inside a batch's range: a range must stay what it was.
        "cleanup.policy": "delete",
        "message.timestamp.type": ARRIVAL,
        "retention.ms": str(int(settings.topic_retention.total_seconds() * 1000)),
    }
    events = common | {"max.message.bytes": str(MAX_RECORD_BYTES)}
    letters = common | {"max.message.bytes": str(MAX_DEAD_LETTER_BYTES)}
    replication = settings.topic_replication
    return (
        TopicSpec(settings.topic, settings.topic_partitions, replication, events),
        TopicSpec(settings.dead_letter_topic, 1, replication, letters),
    )

"""Names and settings of the topics."""

import pytest

from usagepipe.schemas.settings import MigrationSettings
from usagepipe.schemas.topics import (
    MAX_DEAD_LETTER_BYTES,
    MAX_RECORD_BYTES,
    dead_letter_topic,
    topic_specs,
)


@pytest.mark.parametrize(
    ("events", "letters"),
    [
        ("usage.events.v1", "usage.events.dlq.v1"),
        ("events", "events.dlq"),
        ("a.b", "a.dlq.b"),
    ],
)
def test_dead_letters_have_the_name_of_their_events(events: str, letters: str) -> None:
    """The version stays last in the name."""
    assert letters == dead_letter_topic(events)


def test_topics_have_the_settings_that_the_guarantees_need() -> None:
    """Nothing is compacted, arrival is the record's time, and a dead letter always fits."""
    events, letters = topic_specs(MigrationSettings.load())

    assert ("usage.events.v1", 8, -1) == (events.name, events.partitions, events.replication)
    assert ("usage.events.dlq.v1", 1, -1) == (letters.name, letters.partitions, letters.replication)
    common = {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": "604800000",
    }
    assert common | {"max.message.bytes": str(MAX_RECORD_BYTES)} == events.config
    assert common | {"max.message.bytes": str(MAX_DEAD_LETTER_BYTES)} == letters.config

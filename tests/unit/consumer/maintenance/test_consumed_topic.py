"""The connections of a command end also if it cannot begin."""

import pytest

from usagepipe.consumer.maintenance import consumed_topic
from usagepipe.consumer.maintenance.consumed_topic import ConsumedTopic
from usagepipe.schemas.errors import AccessError
from usagepipe.schemas.settings import StorageSettings

closed: list[str] = []


class Log:
    """A log whose topic id may not be read."""

    def __init__(self, kafka: object, topic: str) -> None:
        self._topic = topic

    def topic_id(self) -> str:
        raise AccessError("a right is missing")

    def close(self) -> None:
        closed.append(self._topic)


def test_a_refused_topic_id_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka would log connections that nobody closed."""
    monkeypatch.setattr(consumed_topic, "LogReader", Log)
    closed.clear()

    with pytest.raises(AccessError):
        ConsumedTopic(StorageSettings.load(topic="events"))
    assert ["events"] == closed

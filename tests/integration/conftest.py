"""Worlds that several files of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.absent_kafka import AbsentKafka
from tests.support.spilling import Away
from tests.support.topics import make_topics


@pytest.fixture
def away(kafka: str, topic_name: str, tmp_path: Path) -> Iterator[Away]:
    """A Kafka that cannot be reached yet, and a folder for the spill."""
    make_topics(kafka, topic_name, 1)
    absent = AbsentKafka(kafka)
    yield Away(absent, topic_name, tmp_path / "spill")
    absent.stop()

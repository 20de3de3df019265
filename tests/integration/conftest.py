"""Worlds that several files of this folder share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.absent_kafka import AbsentKafka
from tests.support.exports import ImportCommand, Output
from tests.support.spilling import Away
from tests.support.topics import make_topics
from usagepipe.schemas import Settings
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@pytest.fixture
def away(kafka: str, topic_name: str, tmp_path: Path) -> Iterator[Away]:
    """A Kafka that cannot be reached yet, and a folder for the spill."""
    make_topics(kafka, topic_name, 1)
    absent = AbsentKafka(kafka)
    yield Away(absent, topic_name, tmp_path / "spill")
    absent.stop()


@pytest.fixture
def target(
    settings: Callable[..., Settings], migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> Settings:
    """An installation to import into: topic, group and tables, and nothing in them."""
    return settings()


@pytest.fixture
def import_(target: Settings, capsys: Output) -> ImportCommand:
    """`usagepipe import` into it."""
    return ImportCommand(target, capsys)

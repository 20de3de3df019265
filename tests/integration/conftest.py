"""Worlds that several files of this folder share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.absent_kafka import AbsentKafka
from tests.support.exports import ImportCommand, Output
from tests.support.servers import NoServerError, skip_or_fail
from tests.support.spilling import Away
from tests.support.token_server import TokenServer
from tests.support.topics import make_topics
from usagepipe.schemas import Settings
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from tests.support.secure_kafka import SecureKafka


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


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator["SecureKafka"]:
    """A Kafka with a listener for each way to connect to a company's."""
    from tests.support.secure_kafka import SecureKafka  # needs trustme, which other tests do not

    try:
        broker = SecureKafka(tmp_path_factory.mktemp("secure"))
    except NoServerError as error:
        skip_or_fail("Kafka with TLS and logins", "PATH (Java 17 and Maven)", error)
        raise
    with broker:
        yield broker


@pytest.fixture
def token_server() -> Iterator[TokenServer]:
    """A token endpoint for OAUTHBEARER."""
    with TokenServer() as server:
        yield server

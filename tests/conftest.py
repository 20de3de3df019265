"""The servers of a test run, one of each kind, and a world of its own for each test.

Servers start when the first test asks for them. A test never sees another's topic, group or
database, so tests need no order and may fail alone.
"""

import logging
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.support import clickhouse_server, kafka_server
from tests.support.apache_kafka import ApacheKafka
from tests.support.programs import Programs
from tests.support.servers import REQUIRE_VARIABLE, NoServerError, Server, skip_or_fail
from tests.support.topics import make_topics
from usagepipe.local import LocalClickHouse
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.logger import ROOT as LOGGER
from usagepipe.schemas.settings import PREFIX, ClickHouseAddress, Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PARTITIONS = 4
USED_SERVERS = pytest.StashKey[list[str]]()
OUR_VARIABLES = (kafka_server.VARIABLE, clickhouse_server.VARIABLE, REQUIRE_VARIABLE)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[USED_SERVERS] = []
    # A shell has what it runs in the background ignore Ctrl-C, and so would every program that a
    # test starts: what is ignored is inherited.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print which servers the run used: they are known only now."""
    used = config.stash[USED_SERVERS] or ["none"]
    terminalreporter.write_line(f"servers: {'; '.join(used)}")


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests decide nothing."""
    for name in os.environ:
        if name.startswith(PREFIX) and name not in OUR_VARIABLES:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_spill_of_another_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a recorder leaves on disk is adopted by no other test, and never by whoever runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A test that configures logs writes to the stream of that test, which is closed after it."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    logging.getLogger(LOGGER).setLevel(logging.NOTSET)


def _noted(config: pytest.Config, server: Server) -> str:
    config.stash[USED_SERVERS].append(server.label)
    return server.address


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of the Kafka of this run, which always stays up."""
    try:
        with kafka_server.kafka_server(tmp_path_factory.mktemp("kafka")) as server:
            yield _noted(pytestconfig, server)
    except NoServerError as error:
        skip_or_fail("Kafka", kafka_server.VARIABLE, error)


@pytest.fixture(scope="session")
def clickhouse(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """URL of the ClickHouse of this run, which always stays up. Use `database` for tables."""
    try:
        with clickhouse_server.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
            yield _noted(pytestconfig, server)
    except NoServerError as error:
        skip_or_fail("ClickHouse", clickhouse_server.VARIABLE, error)


@pytest.fixture
def crashable_kafka(tmp_path: Path) -> Iterator[ApacheKafka]:
    """A Kafka of this test's own, started, for `kill` and `start`: it finds its log again."""
    try:
        broker = ApacheKafka(tmp_path / "kafka")
    except NoServerError as error:
        skip_or_fail("Kafka that may be killed", "PATH (Java 17 and Maven)", error)
        raise
    with broker:
        yield broker


@pytest.fixture
def crashable_clickhouse(tmp_path: Path) -> Iterator[LocalClickHouse]:
    """A ClickHouse of this test's own, started, for `kill` and `start`: it finds its data again."""
    try:
        server = clickhouse_server.local_clickhouse(tmp_path / "clickhouse")
    except NoServerError as error:
        skip_or_fail("ClickHouse that may be killed", "up usagepipe[local]", error)
        raise
    with server:
        yield server


@pytest.fixture
def topic_name() -> str:
    """The name of a topic that nobody made yet."""
    return f"test.{uuid.uuid4().hex}.v1"


@pytest.fixture
def topic(kafka: str, topic_name: str) -> str:
    """A fresh topic of 4 partitions, and the topic of its dead letters."""
    make_topics(kafka, topic_name, PARTITIONS)
    return topic_name


@pytest.fixture
def group() -> str:
    """A consumer group that nobody used yet."""
    return f"test.{uuid.uuid4().hex}"


@pytest.fixture
def database(clickhouse: str) -> Iterator[ClickHouseAddress]:
    """A fresh, empty database; dropped when the test is done."""
    address = clickhouse_server.in_database(clickhouse, f"test_{uuid.uuid4().hex}")
    with connect(address, database=None) as server:
        server.command(f"CREATE DATABASE {address.database}")
        yield address
        server.command(f"DROP DATABASE IF EXISTS {address.database} SYNC")


@pytest.fixture
def migrated(database: ClickHouseAddress) -> ClickHouseAddress:
    """A fresh database with the tables in it."""
    migrate(Settings.load(clickhouse=clickhouse_server.url_of(database)))
    return database


@pytest.fixture
def clickhouse_client(database: ClickHouseAddress) -> Iterator["Client"]:
    """A client of this test's database. With `migrated`, the tables are in it."""
    with connect(database) as client:
        yield client


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Callable[..., Settings]:
    """Makes the settings of this test: `settings(batch_rows=10)`.

    Kafka, topic, group and database are this test's own, unless they are given by name: then
    the server behind is not started.
    """

    def make(**given: object) -> Settings:
        own: dict[str, object] = {
            name: request.getfixturevalue(name)
            for name in ("kafka", "topic", "group")
            if name not in given
        }
        if "clickhouse" not in given:
            own["clickhouse"] = clickhouse_server.url_of(request.getfixturevalue("database"))
        return Settings.load(**own, **given)

    return make


@pytest.fixture
def run_program(tmp_path: Path) -> Iterator[Programs]:
    """Starts installed commands: `run_program("worker", environment=…)`; see `Programs`."""
    programs = Programs(tmp_path)
    yield programs
    programs.end()

"""The servers of a test run, one of each kind, and a world of its own for each test.

Servers start when the first test asks for them; each process of `pytest -n 3` has its own. A test
never sees another's topic, group or database, so tests need no order and may fail alone.
"""

import logging
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from tests.support import clickhouse_server, kafka_server
from tests.support.apache_kafka import ApacheKafka
from tests.support.migrated_tables import MigratedTables
from tests.support.programs import Programs
from tests.support.servers import REQUIRE_VARIABLE, NoServerError, Server, skip_or_fail
from tests.support.side_by_side import Turns, arrange, is_alone, servers_line
from tests.support.topics import make_topics
from usagepipe.local import LocalClickHouse
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.logger import ROOT as LOGGER
from usagepipe.schemas.settings import PREFIX, ClickHouseAddress, Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PARTITIONS = 4
USED_SERVERS = pytest.StashKey[list[str]]()
TURNS = pytest.StashKey[Turns]()
FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()
LOCKS = "locks"  # the key of the folder's name in the input of a process
OUR_VARIABLES = (kafka_server.VARIABLE, clickhouse_server.VARIABLE, REQUIRE_VARIABLE)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[USED_SERVERS] = []
    if given := getattr(config, "workerinput", None):
        config.stash[TURNS] = Turns(Path(given[LOCKS]))
    # A shell has what it runs in the background ignore Ctrl-C, and so would every program that a
    # test starts: what is ignored is inherited.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print which servers the run used: they are known only now."""
    terminalreporter.write_line(servers_line(config.stash[USED_SERVERS]))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the servers of this process to the one that prints the summary."""
    if (sent := getattr(session.config, "workeroutput", None)) is not None:
        sent["servers"] = session.config.stash[USED_SERVERS]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Make the folder of locks that all processes share."""
    config.stash[FOLDER] = tempfile.TemporaryDirectory(prefix="usagepipe-tests-")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the folder of the locks to a process before it starts."""
    node.workerinput[LOCKS] = node.config.stash[FOLDER].name


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(FOLDER, None):
        folder.cleanup()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what another process sent; one that crashed sent nothing."""
    sent = getattr(node, "workeroutput", {})
    node.config.stash[USED_SERVERS] += sent.get("servers", [])


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if TURNS in config.stash:
        arrange(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the clock of pytest-timeout starts
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for the test's turn among the processes."""
    if (turns := item.config.stash.get(TURNS, None)) is None:
        return (yield)
    with turns.turn(alone=is_alone(item)):
        return (yield)


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests decide nothing."""
    for name in os.environ:
        if name.startswith(PREFIX) and name not in OUR_VARIABLES:
            monkeypatch.delenv(name)


@pytest.fixture
def no_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorders have nowhere to keep events but their memory."""
    monkeypatch.setenv("USAGEPIPE_SPILL_DIR", "")


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


@pytest.fixture(scope="session")
def migrated_tables(clickhouse: str) -> Iterator[MigratedTables]:
    """The tables of `usagepipe migrate`, to be copied: migrating for each test takes a second."""
    with MigratedTables.on(clickhouse) as tables:
        yield tables


@pytest.fixture
def migrated(database: ClickHouseAddress, migrated_tables: MigratedTables) -> ClickHouseAddress:
    """A fresh database with the tables in it."""
    migrated_tables.copy_to(database)
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

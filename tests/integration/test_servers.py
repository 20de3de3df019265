"""The servers of the tests do what the tests rely on."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.support.apache_kafka import ApacheKafka
from tests.support.clickhouse_server import in_database
from tests.support.programs import Programs, as_environment
from tests.support.topics import make_topics, read, send
from usagepipe.local import LocalClickHouse
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def test_records_come_back_untouched(kafka: str, topic: str) -> None:
    """A topic gives back the bytes it was given, a tombstone and broken UTF-8 included."""
    send(kafka, topic, [b"{}", None, b"\xff"], partition=2, key=b"k")

    found = [(r.partition, r.offset, r.key, r.value) for r in read(kafka, topic)]
    assert [(2, 0, b"k", b"{}"), (2, 1, b"k", None), (2, 2, b"k", b"\xff")] == found


def test_a_killed_broker_comes_back_with_its_log(
    crashable_kafka: ApacheKafka, topic_name: str
) -> None:
    """`kill -9` and a start on the same folder and port is a broker's crash and its return."""
    bootstrap = crashable_kafka.bootstrap
    make_topics(bootstrap, topic_name, 1)
    send(bootstrap, topic_name, [b"before"])

    crashable_kafka.kill()
    crashable_kafka.start()
    send(bootstrap, topic_name, [b"after"])

    assert [b"before", b"after"] == [record.value for record in read(bootstrap, topic_name)]


def test_a_killed_clickhouse_comes_back_with_its_rows(
    crashable_clickhouse: LocalClickHouse,
) -> None:
    """`kill -9` and a start on the same folder and port keeps the rows that were acknowledged."""
    url = crashable_clickhouse.url
    with connect(in_database(url, "default")) as client:
        client.command("CREATE TABLE kept (n UInt8) ENGINE = MergeTree ORDER BY n")
        client.command("INSERT INTO kept VALUES (7)")

    crashable_clickhouse.kill()
    crashable_clickhouse.start()

    assert url == crashable_clickhouse.url
    with connect(in_database(url, "default"), wait_seconds=10) as client:
        assert [(7,)] == client.query("SELECT n FROM kept").result_rows


@pytest.mark.usefixtures("migrated")
def test_a_migrated_database_holds_the_tables(clickhouse_client: "Client") -> None:
    """A test that asks for the tables finds them, and no rows."""
    assert 0 == clickhouse_client.command("SELECT count() FROM usage_events")


def test_programs_see_the_settings_of_the_test_only(
    settings: Callable[..., Settings],
    kafka: str,
    topic_name: str,
    clickhouse_client: "Client",
    run_program: Programs,
) -> None:
    """What a test sets reaches the program: it makes its topic and its tables there."""
    environment = as_environment(settings(topic=topic_name))

    program = run_program("migrate", environment=environment)

    assert 0 == program.wait()
    assert [] == read(kafka, topic_name)
    assert 0 == clickhouse_client.command("SELECT count() FROM usage_events")

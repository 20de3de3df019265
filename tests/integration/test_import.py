"""`usagepipe import`: each event of an export is stored once, also by a second import.

The exports are of another installation: no event of them has been on this topic.
"""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import topics
from tests.support.apache_kafka import ApacheKafka
from tests.support.events import numbered_event
from tests.support.exports import (
    ImportCommand,
    Output,
    export_bytes,
    export_file,
)
from tests.support.ports import lasting_port
from tests.support.programs import Programs
from tests.support.running_worker import start_worker, wait_until_committed
from tests.support.stored_events import insert_rows, rows_of, sums_of, usage_sums
from tests.support.stored_log import store_log
from usagepipe.consumer.maintenance import import_events
from usagepipe.consumer.maintenance.import_events import EventImport
from usagepipe.consumer.topics import log_writer
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.errors import ServerUnavailableError
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

EVENTS = 60


@pytest.fixture
def events() -> list[UsageEvent]:
    return [numbered_event(number) for number in range(EVENTS)]


@pytest.fixture
def file(tmp_path: Path, events: list[UsageEvent]) -> Path:
    return export_file(tmp_path / "export", events)


def test_a_second_import_of_an_export_adds_nothing(
    target: Settings,
    import_: ImportCommand,
    file: Path,
    events: list[UsageEvent],
    run_program: Programs,
    clickhouse_client: "Client",
) -> None:
    """T-35: it adds all, then skips all, and no total changes."""
    worker = start_worker(run_program, target)

    assert (0, f"added {EVENTS}, skipped 0\n", "") == (import_(file), import_.out, import_.err)
    wait_until_committed(target, worker)
    assert sums_of(events) == usage_sums(clickhouse_client)
    assert (0, f"added 0, skipped {EVENTS}\n") == (import_(file), import_.out)

    assert EVENTS == len(topics.read(target.kafka, target.topic))
    assert sums_of(events) == usage_sums(clickhouse_client)


def test_an_import_adds_what_is_missing(
    target: Settings,
    import_: ImportCommand,
    file: Path,
    events: list[UsageEvent],
    clickhouse_client: "Client",
) -> None:
    """However long ago the others were stored: far longer than a worker looks for copies."""
    moment = (datetime.now(UTC) - timedelta(days=100)).isoformat()
    old = {"stored_at": moment, "ingested_at": moment}
    insert_rows(clickhouse_client, rows_of(events[::3], **old))

    assert (0, "added 40, skipped 20\n") == (import_(file), import_.out)

    store_log(target)
    assert sums_of(events) == usage_sums(clickhouse_client)


def test_two_imports_before_anything_is_stored_count_once(
    target: Settings,
    import_: ImportCommand,
    file: Path,
    events: list[UsageEvent],
    run_program: Programs,
    clickhouse_client: "Client",
) -> None:
    """Both send all, because nothing is stored yet; the worker skips the duplicates."""
    for _ in range(2):
        assert (0, f"added {EVENTS}, skipped 0\n") == (import_(file), import_.out)

    worker = start_worker(run_program, target, batch_rows=7)
    wait_until_committed(target, worker)

    assert 2 * EVENTS == len(topics.read(target.kafka, target.topic))
    assert sums_of(events) == usage_sums(clickhouse_client)
    assert (0, f"added 0, skipped {EVENTS}\n") == (import_(file), import_.out)


def test_an_event_has_the_key_and_the_bytes_that_a_recorder_gives_it(
    target: Settings, import_: ImportCommand, file: Path, events: list[UsageEvent]
) -> None:
    """The key is the API key's id or the user's, so duplicates meet in one partition."""
    assert 0 == import_(file)

    sent = [(record.key, record.value) for record in topics.read(target.kafka, target.topic)]
    expected = [
        (
            (each.api_key_id or each.user_id).encode(),
            encode(each.model_copy(update={"sequence": None})),
        )
        for each in events
    ]
    assert sorted(expected) == sorted(sent, key=repr)


def test_a_key_s_events_keep_their_order(
    target: Settings, import_: ImportCommand, file: Path, events: list[UsageEvent]
) -> None:
    """In their partition they have the order of their times."""
    assert 0 == import_(file)

    tokens: dict[bytes | None, list[int]] = {}
    for record in topics.read(target.kafka, target.topic):
        tokens.setdefault(record.key, []).append(
            json.loads(record.value or b"").get("total_tokens", 0)
        )
    assert {key: sorted(each) for key, each in tokens.items()} == tokens


@pytest.mark.parametrize(
    ("old", "new", "line", "reported"),
    [
        (b'"usagepipe_export":1', b'"usagepipe_export":2', 1, "usagepipe_export: version 2"),
        (b'"user_id":"u-2"', b'"user_id":"u-2', 4, "it is not a valid event: not_json: "),
        (b'"total_tokens":7,', b'"total_tokens":-7,', 9, "invalid_fields: total_tokens: Input"),
        (b'"total_tokens":7,', b'"total_tokens":8,', 62, "sha256: it is not what the lines"),
        (b'"events":60', b'"events":59', 62, "events: it is not what the lines"),
        (b"usagepipe_export_end", b"", 62, "it is not a valid event"),
    ],
)
def test_a_file_that_is_wrong_anywhere_changes_nothing(
    target: Settings,
    import_: ImportCommand,
    file: Path,
    old: bytes,
    new: bytes,
    line: int,
    reported: str,
) -> None:
    """T-37: another version and broken JSON are refused with line and field; nothing is sent."""
    whole = file.read_bytes()
    assert old in whole
    file.write_bytes(whole.replace(old, new, 1))

    assert (2, "") == (import_(file), import_.out)

    assert f"Error: Line {line} of the file: " in import_.err
    assert reported in import_.err
    assert [] == topics.read(target.kafka, target.topic)


def test_a_file_that_was_cut_off_changes_nothing(
    target: Settings, import_: ImportCommand, file: Path
) -> None:
    """In the middle of a line, or between two."""
    whole = file.read_bytes()
    for length in (len(whole) // 2, whole.rindex(b'{"usagepipe_export_end"')):
        file.write_bytes(whole[:length])

        assert (2, True) == (import_(file), "it was cut off" in import_.err)

    assert [] == topics.read(target.kafka, target.topic)


def test_an_interrupted_import_goes_on(
    target: Settings,
    import_: ImportCommand,
    file: Path,
    events: list[UsageEvent],
    clickhouse_client: "Client",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it has sent is stored by the time of the next run, which sends the rest."""
    monkeypatch.setattr(import_events, "BATCH_EVENTS", 10)
    batches = iter([False, False, True])
    with closing(EventImport(target, keep_numbers=False)) as first:
        first.run(events, stopped=lambda: next(batches))
    store_log(target)

    assert (0, "added 40, skipped 20\n") == (import_(file), import_.out)

    assert 20 == first.added
    store_log(target, chosen=lambda record: record.offset >= 0, token="again")
    assert {each.event_id for each in events} == stored_ids(clickhouse_client)


def stored_ids(client: "Client") -> set[Any]:
    return {row[0] for row in client.query("SELECT event_id FROM usage_events").result_rows}


def test_a_kafka_that_is_away_is_status_three(target: Settings, file: Path, capsys: Output) -> None:
    """With the address, and with nothing added."""
    away = target.model_copy(update={"kafka": f"127.0.0.1:{lasting_port()}"})
    import_ = ImportCommand(away, capsys)

    assert 3 == import_(file)

    assert f"Kafka at {away.kafka} cannot be reached" in import_.err


def test_a_clickhouse_that_is_away_is_status_three(
    target: Settings, file: Path, capsys: Output
) -> None:
    """Nothing is sent that might be there already."""
    away = target.model_dump() | {"clickhouse": f"http://127.0.0.1:{lasting_port()}/usage"}
    import_ = ImportCommand(Settings.load(**away), capsys)

    assert (3, "added 0, skipped 0\n") == (import_(file), import_.out)

    assert "ClickHouse at http://127.0.0.1" in import_.err
    assert [] == topics.read(target.kafka, target.topic)


def test_a_kafka_that_goes_away_ends_an_import_and_the_next_one_goes_on(
    crashable_kafka: ApacheKafka,
    topic_name: str,
    settings: Callable[..., Settings],
    migrated: ClickHouseAddress,
    events: list[UsageEvent],
    file: Path,
    clickhouse_client: "Client",
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is retried for a while, then reported with the unconfirmed events. Nothing is lost."""
    monkeypatch.setattr(log_writer, "DELIVERY_SECONDS", 2)
    kafka = crashable_kafka.bootstrap
    topics.make_topics(kafka, topic_name, 1)
    target = settings(kafka=kafka, topic=topic_name)

    with closing(EventImport(target, keep_numbers=False)) as first:
        first.run(events[:20], stopped=lambda: False)
        crashable_kafka.kill()
        with pytest.raises(ServerUnavailableError):
            first.run(events[20:], stopped=lambda: False)

    assert (20, 40) == (first.added, first.unconfirmed)
    crashable_kafka.start()
    store_log(target)
    import_ = ImportCommand(target, capsys)
    assert (0, "added 40, skipped 20\n") == (import_(file), import_.out)
    assert EVENTS == len(topics.read(kafka, topic_name))


def test_a_queue_that_is_full_is_waited_for(
    target: Settings, import_: ImportCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded and nothing is lost; an event too large for the queue is reported."""
    monkeypatch.setattr(log_writer, "QUEUE_KIBIBYTES", 16)
    some = [numbered_event(number, tags={"padding": "x" * 2_000}) for number in range(EVENTS)]
    large = numbered_event(EVENTS, tags={str(number): "x" * 2_000 for number in range(20)})

    status = import_(export_file(tmp_path / "export", [*some, large]))

    assert (1, f"added {EVENTS}, skipped 0\n") == (status, import_.out)
    assert "1 could not be added; the last one: it is larger than 16 KiB." in import_.err
    assert EVENTS == len(topics.read(target.kafka, target.topic))


@pytest.mark.parametrize(
    ("name", "value", "reported"),
    [
        ("USAGEPIPE_DEDUP_DAYS", "0", "USAGEPIPE_DEDUP_DAYS is 0: workers would store an event"),
        ("USAGEPIPE_RAW_RETENTION_DAYS", "3", "USAGEPIPE_RAW_RETENTION_DAYS"),
    ],
)
def test_settings_that_would_count_twice_are_refused(
    target: Settings,
    import_: ImportCommand,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    reported: str,
) -> None:
    """Copies must be dropped by the workers, and be found among raw rows."""
    monkeypatch.setenv(name, value)

    assert (2, True) == (import_(file), reported in import_.err)

    assert [] == topics.read(target.kafka, target.topic)


def test_a_missing_file_and_a_missing_topic_are_named(
    settings: Callable[..., Settings], migrated: ClickHouseAddress, file: Path, capsys: Output
) -> None:
    """Neither is made by asking for it."""
    nowhere = settings(topic="nosuch.topic.v1")
    import_ = ImportCommand(nowhere, capsys)

    assert (2, True) == (import_(file.with_name("nosuch")), "No such file" in import_.err)
    assert (1, True) == (import_(file), "There is no topic nosuch.topic.v1" in import_.err)
    assert not topics.exists(nowhere.kafka, "nosuch.topic.v1")


def test_an_empty_export_adds_nothing(target: Settings, import_: ImportCommand, file: Path) -> None:
    """It is whole, and has no event."""
    file.write_bytes(export_bytes([]))

    assert (0, "added 0, skipped 0\n") == (import_(file), import_.out)

"""`usagepipe dlq` as a user runs it, on letters that a worker's own sender wrote."""

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.integration.test_worker import event, start_worker
from tests.support import topics
from tests.support.ports import lasting_port
from tests.support.programs import Programs
from tests.support.waiting import eventually
from tests.support.worker import committed, end_offsets, raw_counts
from tests.unit.consumer.records import FakeRecord
from usagepipe.cli.root import run
from usagepipe.consumer.dead_letters import DeadLetters
from usagepipe.consumer.log_reader import LogReader
from usagepipe.consumer.records import TopicPartition
from usagepipe.consumer.rows import Rejected
from usagepipe.schemas import Settings, encode
from usagepipe.schemas.topics import MAX_DEAD_LETTER_BYTES, dead_letter_topic

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SECONDS = 60
MakeSettings = Callable[..., Settings]
Output = pytest.CaptureFixture[str]


def write(
    kafka: str,
    topic: str,
    *records: FakeRecord,
    reason: str = "not_json",
    partition: int = 1,
    topic_id: str | None = None,
) -> None:
    """Send letters of `records`, as a worker does."""
    letter_topic = dead_letter_topic(topic)
    eventually(partial(topics.exists, kafka, letter_topic), SECONDS, "the topic of letters")
    identity = topic_id or topic_id_of(kafka, topic)

    async def send() -> None:
        letters = DeadLetters(kafka, letter_topic)
        rejected = [Rejected(record, reason, "told in full") for record in records]
        try:
            async with asyncio.timeout(SECONDS):
                await letters.send(rejected, TopicPartition(topic, partition), identity)
        finally:
            await letters.close()

    asyncio.run(send())


def await_topics(kafka: str, topic: str) -> None:
    """Return when a topic just made, and the one of its letters, are there for all."""
    for name in (topic, dead_letter_topic(topic)):
        eventually(partial(topics.exists, kafka, name), SECONDS, f"topic {name}")


def topic_id_of(kafka: str, topic: str) -> str:
    with LogReader(kafka, topic) as reader:
        return reader.topic_id()


class Command:
    """Runs `usagepipe dlq …` on one topic."""

    def __init__(self, kafka: str, topic: str, capsys: Output) -> None:
        self._servers = ("--kafka", kafka, "--topic", topic)
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, name: str, *arguments: str) -> int:
        self._capsys.readouterr()
        status = run(["dlq", name, *self._servers, *arguments])
        self.out, self.err = self._capsys.readouterr()
        return status

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        assert 0 == self("list", "--json", *arguments), self.err
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def dlq(kafka: str, topic: str, capsys: Output) -> Command:
    await_topics(kafka, topic)
    return Command(kafka, topic, capsys)


def put(
    kafka: str,
    topic: str,
    records: Iterable[tuple[bytes, bytes | None, dict[str, str]]],
    partition: int = 1,
) -> None:
    """Send keys, values and headers of any kind."""
    producer = Producer({"bootstrap.servers": kafka, "message.max.bytes": 100_000_000})
    errors: list[object] = []
    for key, value, headers in records:
        producer.produce(
            topic,
            value,
            key,
            partition=partition,
            headers=list(headers.items()),
            on_delivery=lambda error, _: errors.append(error),
        )
    assert 0 == producer.flush(SECONDS)
    assert {None} == set(errors)


def offsets(rows: Iterable[dict[str, Any]]) -> list[int]:
    return [row["offset"] for row in rows]


def values(kafka: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of all records of a topic, in an order of their own."""
    return sorted(((r.key, r.value) for r in topics.read(kafka, topic)), key=repr)


def test_a_list_tells_all_but_what_records_hold(kafka: str, topic: str, dlq: Command) -> None:
    """Coordinates, reason, times and sizes; neither key nor value."""
    write(kafka, topic, FakeRecord(7, b"a secret", key=b"whose"))

    (row,) = dlq.listed()

    told = {name: row.pop(name) for name in ("topic_id", "letter_time")}
    assert topic_id_of(kafka, topic) == told["topic_id"]
    assert datetime.fromisoformat(told["letter_time"]).year >= 2025
    assert {
        "topic": topic,
        "partition": 1,
        "offset": 7,
        "reason": "not_json",
        "detail": "told in full",
        "code": None,
        "column": None,
        "record_time": "2023-11-14T22:13:20.123Z",
        "key_bytes": 5,
        "value_bytes": 8,
        "value_omitted": False,
        "copies": 1,
    } == row
    assert 0 == dlq("list")
    for part in ("not_json", "told in full", "2023-11-14 22:13:20"):
        assert part in dlq.out
    assert not [part for part in ("secret", "whose") if part in dlq.out + dlq.err]


def test_a_letter_written_twice_is_one(kafka: str, topic: str, dlq: Command) -> None:
    """Listed once with its count; a topic made anew has letters of its own."""
    for _ in range(3):
        write(kafka, topic, FakeRecord(7), FakeRecord(8))
    write(kafka, topic, FakeRecord(7), topic_id="f" * 32)

    rows = dlq.listed()

    assert [(7, 3), (8, 3), (7, 1)] == [(row["offset"], row["copies"]) for row in rows]
    assert 0 == dlq("list", "--summary", "--json")
    summary = json.loads(dlq.out)
    assert ("not_json", 3, 7) == tuple(summary[k] for k in ("reason", "letters", "copies"))


def test_filters_choose_letters(kafka: str, topic: str, dlq: Command) -> None:
    """By reason, by the record's place, and by number, oldest first."""
    write(kafka, topic, *(FakeRecord(offset) for offset in range(5)))
    write(kafka, topic, FakeRecord(2), FakeRecord(9), reason="tombstone", partition=3)

    assert [2, 9] == offsets(dlq.listed("--reason", "tombstone"))
    assert 7 == len(dlq.listed("--reason", "tombstone", "--reason", "not_json"))
    assert [0, 1, 2, 3, 4] == offsets(dlq.listed("--partition", "1"))
    assert 7 == len(dlq.listed("--partition", "1", "--partition", "3"))
    assert [2, 3, 2] == offsets(dlq.listed("--offset", "2-3"))
    assert [9] == offsets(dlq.listed("--offset", "9"))
    assert [0, 1] == offsets(dlq.listed("--limit", "2"))
    assert "The first 2 of 7" in dlq.err
    assert [] == dlq.listed("--reason", "nosuch")


def test_times_are_those_of_the_letters(kafka: str, topic: str, dlq: Command) -> None:
    """`--from` includes its moment, `--to` does not; the record's own time is another."""
    write(kafka, topic, FakeRecord(1))
    (first,) = dlq.listed()
    wrote_at = datetime.fromisoformat(first["letter_time"])
    later = wrote_at + timedelta(milliseconds=1)
    eventually(lambda: datetime.now(wrote_at.tzinfo) > later)
    write(kafka, topic, FakeRecord(2))

    assert [1, 2] == offsets(dlq.listed("--from", wrote_at.isoformat()))
    assert [2] == offsets(dlq.listed("--from", later.isoformat()))
    assert [1] == offsets(dlq.listed("--to", later.isoformat()))
    assert [] == dlq.listed("--to", wrote_at.isoformat())
    assert [] == dlq.listed("--from", "2999-01-01")
    assert [] == dlq.listed("--to", "2024-01-01")


def test_an_empty_topic_is_said_to_be_empty(dlq: Command) -> None:
    """In words, or as no line of JSON; nothing is put back."""
    assert [] == dlq.listed()
    assert (0, True) == (dlq("list"), dlq.out.startswith("No dead letters on "))
    assert (0, True) == (dlq("list", "--summary"), dlq.out.startswith("No dead letters on "))
    assert (0, "No dead letters to put back.\n") == (dlq("replay", "--dry-run"), dlq.out)
    assert (0, True) == (dlq("replay", "--yes"), dlq.out.startswith("0 put back on "))


def test_a_record_that_is_no_letter_is_left_out(kafka: str, topic: str, dlq: Command) -> None:
    """Whoever wrote it there: letters beside it are listed, and its number is told."""
    topics.send(kafka, dead_letter_topic(topic), [b"who", None])
    write(kafka, topic, FakeRecord(1))

    assert [1] == offsets(dlq.listed())
    assert "Warning: 2 records on" in dlq.err
    assert 0 == dlq("replay", "--yes")
    assert "Warning: 2 records on" in dlq.err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--offset", "9-3"), "'9-3' ends before it begins"),
        (("--offset", "-3"), "'-3' is no offset"),
        (("--offset", "x"), "'x' is no offset"),
        (("--partition", "-1"), "-1 is not in the range"),
        (("--limit", "0"), "0 is not in the range"),
        (("--from", "noon"), "'noon' is no time"),
        (("--from", "2026-02-01", "--to", "2026-02-01"), "is not before --to"),
    ],
)
@pytest.mark.parametrize("name", ["list", "replay"])
def test_wrong_filters_are_wrong_use(
    capsys: Output, name: str, wrong: tuple[str, ...], told: str
) -> None:
    """Named with their value, before any server is asked."""
    assert 2 == run(["dlq", name, "--kafka", "127.0.0.1:1", *wrong])

    assert told in capsys.readouterr().err


def test_a_missing_topic_is_named(kafka: str, topic_name: str, capsys: Output) -> None:
    """With the cure, and it is not made by asking for it."""
    dlq = Command(kafka, topic_name, capsys)

    assert 1 == dlq("list")

    assert f"There is no topic {dead_letter_topic(topic_name)} on Kafka" in dlq.err
    assert not topics.exists(kafka, dead_letter_topic(topic_name))


def test_a_replay_needs_the_topic_of_events(kafka: str, topic_name: str, capsys: Output) -> None:
    """It is not made by writing to it."""
    admin = AdminClient({"bootstrap.servers": kafka})
    letters = dead_letter_topic(topic_name)
    admin.create_topics([NewTopic(letters, 1)])[letters].result()
    write(kafka, topic_name, FakeRecord(1), topic_id="a" * 32)

    dlq = Command(kafka, topic_name, capsys)

    assert 1 == dlq("replay")

    assert f"There is no topic {topic_name} on Kafka" in dlq.err
    assert not topics.exists(kafka, topic_name)


def test_kafka_away_is_status_three(capsys: Output) -> None:
    """With the address that was tried."""
    away = f"127.0.0.1:{lasting_port()}"

    assert 3 == run(["dlq", "replay", "--kafka", away])

    assert f"Kafka at {away} cannot be reached" in capsys.readouterr().err


def test_a_letter_is_shown_with_what_it_holds(kafka: str, topic: str, dlq: Command) -> None:
    """All headers, and key and value as text."""
    write(kafka, topic, FakeRecord(7, '{"naïve": 1}\n'.encode(), key=b"k-1"))
    write(kafka, topic, FakeRecord(7, b"another", key=b"k-2"), partition=2)

    assert 0 == dlq("show", "1", "7")

    for name, text in {
        "reason": "not_json",
        "detail": "told in full",
        "topic": topic,
        "partition": "1",
        "offset": "7",
        "timestamp": "1700000000123",
        "copies": "1",
    }.items():
        assert f"{name + ':':<22}{text}\n" in dlq.out
    assert 'value, 14 bytes:\n{"naïve": 1}\n' in dlq.out
    assert "key, 3 bytes:\nk-1\n" in dlq.out
    assert "another" not in dlq.out


def test_bytes_that_a_terminal_would_obey_are_shown_as_digits(
    kafka: str, topic: str, dlq: Command
) -> None:
    """Neither escapes nor bytes that are no text reach a terminal; long values are cut."""
    write(kafka, topic, FakeRecord(7, b"\x1b[31m" + b"x" * 95, key=None))
    write(kafka, topic, FakeRecord(8, "ü".encode() * 50, key=b"\xff"))

    assert 0 == dlq("show", "1", "7", "--max-bytes", "16")
    assert "00000000  1b 5b 33 31 6d 78 78 78" in dlq.out
    assert "84 bytes more: see --max-bytes and --raw." in dlq.out
    assert "key: (none)" in dlq.out
    assert "\x1b" not in dlq.out
    assert 0 == dlq("show", "1", "8", "--max-bytes", "5")
    assert "value, 100 bytes:\nüü\n" in dlq.out
    assert "key, 1 bytes:\n00000000  ff" in dlq.out


def test_raw_bytes_are_untouched(
    kafka: str, topic: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """All of them and nothing else: fit for a file."""
    value = bytes(range(256)) * 40
    write(kafka, topic, FakeRecord(7, value))

    assert 0 == run(["dlq", "show", "1", "7", "--raw", "--kafka", kafka, "--topic", topic])

    assert value == capsysbinary.readouterr().out


def test_what_cannot_be_shown_is_said(kafka: str, topic: str, dlq: Command) -> None:
    """No such letter; one that has no value; one of two topics of the same name."""
    write(kafka, topic, FakeRecord(7, None))

    assert (1, True) == (dlq("show", "1", "8"), "No dead letter of that record" in dlq.err)
    assert (1, True) == (dlq("show", "1", "7", "--raw"), "The record has no value." in dlq.err)
    write(kafka, topic, FakeRecord(7, b"of another"), topic_id="e" * 32)
    assert (2, True) == (dlq("show", "1", "7"), f"--topic-id {'e' * 32}" in dlq.err)
    assert (0, True) == (dlq("show", "1", "7", "--topic-id", "e" * 32), "of another" in dlq.out)


def test_a_replay_puts_untouched_bytes_back_once(kafka: str, topic: str, dlq: Command) -> None:
    """Keys and values as they were, no headers. A dry run changes nothing."""
    records = [FakeRecord(1, b"\x00\xff", key=None), FakeRecord(2, None, key=b"k"), FakeRecord(3)]
    for _ in range(2):
        write(kafka, topic, *records)
    write(kafka, topic, FakeRecord(4, b"other"), reason="tombstone")

    assert 0 == dlq("replay", "--dry-run", "--reason", "not_json")
    assert f"not_json: 3\n3 dead letters to put back on {topic}.\n" == dlq.out
    assert [] == topics.read(kafka, topic)
    assert 0 == dlq("replay", "--reason", "not_json")

    assert dlq.out.startswith(f"not_json: 3\n3 put back on {topic}.\n")
    assert sorted(((r.key, r.value) for r in records), key=repr) == values(kafka, topic)
    assert [{}] * 3 == [record.headers for record in topics.read(kafka, topic)]


def test_a_limit_is_of_letters(kafka: str, topic: str, dlq: Command) -> None:
    """The oldest; copies do not count."""
    for _ in range(2):
        write(kafka, topic, *(FakeRecord(n, str(n).encode()) for n in range(4)))

    assert 0 == dlq("replay", "--limit", "3")

    assert [b"0", b"1", b"2"] == [value for _, value in values(kafka, topic)]


def test_a_value_too_large_for_its_letter_is_read_where_it_stood(
    kafka: str, topic_name: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Shown and put back whole. Where the topic is another or keeps it no longer, that is told."""
    topic = topic_name
    make_topic_of_large_records(kafka, topic)
    large = os.urandom(2 * MAX_DEAD_LETTER_BYTES)
    put(kafka, topic, [(b"big", large, {})])
    write(kafka, topic, FakeRecord(0, large, key=b"big"))
    write(kafka, topic, FakeRecord(99, large, key=b"gone"))
    write(kafka, topic, FakeRecord(0, large, key=b"other"), topic_id="d" * 32)
    write(kafka, topic, FakeRecord(5, b"small"))

    status = run(["dlq", "replay", "--kafka", kafka, "--topic", topic])

    told = capsysbinary.readouterr()
    assert 1 == status
    assert b"2 put back" in told.out
    assert b"Not put back: partition 1 offset 99: the letter has no value" in told.err
    assert b"2 could not be put back." in told.err
    assert [(b"big", large), (b"big", large), (b"key", b"small")] == sorted(
        (record.key or b"", record.value) for record in topics.read(kafka, topic)
    )
    show = ["dlq", "show", "1", "0", "--raw", "--kafka", kafka, "--topic", topic, "--topic-id"]
    assert 0 == run([*show, topic_id_of(kafka, topic)])
    assert large == capsysbinary.readouterr().out
    assert 1 == run([*show, "d" * 32])


def make_topic_of_large_records(kafka: str, topic: str) -> None:
    """Somebody made the topic of events with a limit above that of its dead letters."""
    wanted = [
        NewTopic(topic, 4, config={"max.message.bytes": str(4 * MAX_DEAD_LETTER_BYTES)}),
        NewTopic(
            dead_letter_topic(topic), 1, config={"max.message.bytes": str(MAX_DEAD_LETTER_BYTES)}
        ),
    ]
    admin = AdminClient({"bootstrap.servers": kafka})
    for made in admin.create_topics(wanted).values():
        made.result()
    await_topics(kafka, topic)


def headers_of(topic: str, topic_id: str, offset: int, **more: str) -> dict[str, str]:
    """The headers of a letter about a record of partition 1."""
    return {
        "reason": "refused_by_clickhouse",
        "detail": "Cannot parse",
        "topic": topic,
        "topic_id": topic_id,
        "partition": "1",
        "offset": str(offset),
        "timestamp": "1700000000123",
    } | more


def test_clickhouses_code_and_column_are_told(kafka: str, topic: str, dlq: Command) -> None:
    """Of a row that it refused: in JSON as they are, in the table before the detail."""
    headers = headers_of(topic, "a" * 32, 3, code="27", column="cost")
    put(kafka, dead_letter_topic(topic), [(b"k", b"v", headers)], partition=0)

    (row,) = dlq.listed("--reason", "refused_by_clickhouse")

    assert (27, "cost", "Cannot parse") == (row["code"], row["column"], row["detail"])
    assert (0, True) == (dlq("list"), "code 27; cost; Cannot parse" in dlq.out)


def test_ctrl_c_ends_a_replay_between_two_records(
    kafka: str, topic: str, run_program: Programs
) -> None:
    """It tells how many were put back, and so many are there."""
    letters = 1_000  # each read from its own topic, which takes seconds for all
    put(kafka, topic, [(b"k", b"v", {})] * letters)
    identity = topic_id_of(kafka, topic)
    omitted = [
        (b"k", None, headers_of(topic, identity, offset, omitted_value_bytes="1"))
        for offset in range(letters)
    ]
    put(kafka, dead_letter_topic(topic), omitted, partition=0)
    replay = run_program("dlq", "replay", "--kafka", kafka, "--topic", topic)
    eventually(lambda: len(topics.read(kafka, topic)) > letters, SECONDS, "a record put back")

    replay.send_signal(signal.SIGINT)

    assert 130 == replay.wait()
    added = len(topics.read(kafka, topic)) - letters
    assert 0 < added < letters
    assert f"{added:,} put back on {topic}.\n" in replay.stdout
    assert "Interrupted: the rest was not put back." in replay.stderr


@pytest.mark.usefixtures("migrated")
def test_what_is_still_bad_comes_back_and_what_is_good_is_stored(
    settings: MakeSettings,
    run_program: Programs,
    clickhouse_client: "Client",
    capsys: Output,
) -> None:
    """T-62: the worker judges a record that was put back as any other, and its letter is new."""
    made = settings()
    dlq = Command(made.kafka, made.topic, capsys)
    good = event(1)
    topics.send(made.kafka, made.topic, [b"no event"], partition=2)
    start_worker(run_program, made)
    eventually(dlq.listed, SECONDS, "the letter")
    write(made.kafka, made.topic, FakeRecord(40, encode(good)), reason="unknown_schema_version")

    assert 0 == dlq("replay")

    since = dlq.out.split()[-1]
    rows = eventually(lambda: dlq.listed("--from", since, "--reason", "not_json"), SECONDS)
    eventually(lambda: committed(made) == end_offsets(made), SECONDS, "all offsets committed")
    assert (1, 1) == raw_counts(clickhouse_client)
    assert b"no event" in [value for _, value in values(made.kafka, dead_letter_topic(made.topic))]
    assert (2, 0) not in [(row["partition"], row["offset"]) for row in rows]


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


def test_somebody_at_a_terminal_is_asked(
    kafka: str, topic: str, dlq: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After being told how many there are; `--yes` asks nobody."""
    write(kafka, topic, FakeRecord(1))

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert 1 == dlq("replay")
    assert "1 dead letters to put back" in dlq.out
    assert "Nothing was put back." in dlq.err
    assert [] == topics.read(kafka, topic)
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert 0 == dlq("replay")
    assert 1 == len(topics.read(kafka, topic))
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert 0 == dlq("replay", "--yes")
    assert 2 == len(topics.read(kafka, topic))

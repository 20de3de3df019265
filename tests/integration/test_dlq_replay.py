"""`usagepipe dlq replay` as a user runs it: what it replays, and what it reports about the rest."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.support import topics
from tests.support.apache_kafka import ApacheKafka
from tests.support.dead_letters import (
    DlqCommand,
    await_topics,
    headers_of,
    put_records,
    topic_id_of,
    values,
    write_dead_letters,
)
from tests.support.fake_records import FakeRecord
from tests.support.programs import Programs
from tests.support.running_worker import event, start_worker
from tests.support.waiting import eventually
from tests.support.worker import committed, end_offsets, raw_counts
from usagepipe.cli.root import run
from usagepipe.consumer.dead_letters.record import DeadLetter, Selection
from usagepipe.consumer.dead_letters.replay import DeadLetterReplay
from usagepipe.consumer.dead_letters.topic import DeadLetterTopic
from usagepipe.consumer.log.unreadable import UnreadableRecord
from usagepipe.consumer.topics import log_writer
from usagepipe.schemas import Settings, encode
from usagepipe.schemas.errors import ServerUnavailableError
from usagepipe.schemas.topics import MAX_DEAD_LETTER_BYTES, MAX_RECORD_BYTES, dead_letter_topic

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SECONDS = 60
MakeSettings = Callable[..., Settings]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def dlq(kafka: str, topic: str, capsys: Output) -> DlqCommand:
    await_topics(kafka, topic)
    return DlqCommand(kafka, topic, capsys)


def test_a_replay_needs_the_topic_of_events(kafka: str, topic_name: str, capsys: Output) -> None:
    """It is not made by writing to it."""
    admin = AdminClient({"bootstrap.servers": kafka})
    letters = dead_letter_topic(topic_name)
    admin.create_topics([NewTopic(letters, 1)])[letters].result()
    write_dead_letters(kafka, topic_name, FakeRecord(1), topic_id="a" * 32)

    dlq = DlqCommand(kafka, topic_name, capsys)

    assert 1 == dlq("replay", "--yes")

    assert f"There is no topic {topic_name} on Kafka" in dlq.err
    assert not topics.exists(kafka, topic_name)


def test_a_replay_puts_untouched_bytes_back_once(kafka: str, topic: str, dlq: DlqCommand) -> None:
    """Keys and values as they were, no headers. A dry run changes nothing."""
    records = [FakeRecord(1, b"\x00\xff", key=None), FakeRecord(2, None, key=b"k"), FakeRecord(3)]
    for _ in range(2):
        write_dead_letters(kafka, topic, *records)
    write_dead_letters(kafka, topic, FakeRecord(4, b"other"), reason="tombstone")

    assert 0 == dlq("replay", "--dry-run", "--reason", "not_json")
    assert f"not_json: 3\n3 dead letters to replay to {topic}.\n" == dlq.out
    assert [] == topics.read(kafka, topic)
    assert 0 == dlq("replay", "--yes", "--reason", "not_json")

    assert dlq.out.startswith(f"not_json: 3\n3 replayed to {topic}.\n")
    assert sorted(((r.key, r.value) for r in records), key=repr) == values(kafka, topic)
    assert [{}] * 3 == [record.headers for record in topics.read(kafka, topic)]


def test_a_limit_is_of_letters(kafka: str, topic: str, dlq: DlqCommand) -> None:
    """The oldest; copies do not count."""
    for _ in range(2):
        write_dead_letters(kafka, topic, *(FakeRecord(n, str(n).encode()) for n in range(4)))

    assert 0 == dlq("replay", "--yes", "--limit", "3")

    assert [b"0", b"1", b"2"] == [value for _, value in values(kafka, topic)]


def test_gap_records_are_neither_planned_nor_replayed(
    kafka: str, topic: str, dlq: DlqCommand
) -> None:
    """They hold no event: a dry run does not count them, and they use up no limit."""
    write_dead_letters(kafka, topic, *(FakeRecord(n) for n in range(12)), reason="gap")
    write_dead_letters(kafka, topic, *(FakeRecord(n, b"bad") for n in range(20, 23)))

    assert 0 == dlq("replay", "--dry-run")
    assert f"not_json: 3\n3 dead letters to replay to {topic}.\n" == dlq.out
    assert 0 == dlq("replay", "--dry-run", "--reason", "gap")
    assert "No dead letters to replay.\n" == dlq.out
    assert 0 == dlq("replay", "--yes", "--limit", "2")

    assert dlq.out.startswith(f"not_json: 2\n2 replayed to {topic}.\n")
    assert [b"bad", b"bad"] == [record.value for record in topics.read(kafka, topic)]


def test_a_value_too_large_for_its_letter_is_read_where_it_stood(
    kafka: str, topic_name: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Shown and replayed whole; if the topic is gone or keeps it no longer, the command says so."""
    topic = topic_name
    make_topic_of_large_records(kafka, topic)
    large = os.urandom(2 * MAX_DEAD_LETTER_BYTES)
    put_records(kafka, topic, [(b"big", large, {})])
    write_dead_letters(kafka, topic, FakeRecord(0, large, key=b"big"))
    write_dead_letters(kafka, topic, FakeRecord(99, large, key=b"gone"))
    write_dead_letters(kafka, topic, FakeRecord(0, large, key=b"other"), topic_id="d" * 32)
    write_dead_letters(kafka, topic, FakeRecord(5, b"small"))

    status = run(["dlq", "replay", "--yes", "--kafka", kafka, "--topic", topic])

    reported = capsysbinary.readouterr()
    assert 1 == status
    assert b"2 replayed" in reported.out
    assert b"Not replayed: partition 1 offset 99: the dead letter has no value" in reported.err
    assert b"2 could not be replayed." in reported.err
    assert [(b"big", large), (b"big", large), (b"key", b"small")] == sorted(
        (record.key or b"", record.value) for record in topics.read(kafka, topic)
    )
    show = ["dlq", "show", "1", "0", "--raw", "--kafka", kafka, "--topic", topic, "--topic-id"]
    assert 0 == run([*show, topic_id_of(kafka, topic)])
    assert large == capsysbinary.readouterr().out
    assert 1 == run([*show, "d" * 32])


def test_a_record_whose_batch_cannot_be_unpacked_is_left_where_it_is(
    kafka: str, topic: str, dlq: DlqCommand
) -> None:
    """The client would unpack all of it, to find out how large it is."""
    put_records(kafka, topic, [(b"k", b"v", {})])
    unread = UnreadableRecord(0, 1_700_000_000_123, "batch_too_large", "more than it may")
    write_dead_letters(kafka, topic, unread, reason=unread.reason)

    (listed,) = dlq.listed()

    assert (None, True) == (listed["value_bytes"], listed["value_omitted"])
    assert (0, True) == (dlq("list"), "omitted" in dlq.out)
    assert (1, True) == (dlq("replay", "--yes"), "batch cannot be unpacked" in dlq.err)
    assert (0, True) == (dlq("show", "1", "0"), "batch cannot be unpacked" in dlq.out)
    assert (1, True) == (dlq("show", "1", "0", "--raw"), "batch cannot be unpacked" in dlq.err)
    assert [(b"k", b"v")] == values(kafka, topic)


def make_topic_of_large_records(kafka: str, topic: str) -> None:
    """The topic of events was created with a larger limit than that of its dead letters."""
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


def test_a_record_that_kafka_refuses_is_reported_and_the_rest_is_replayed(
    kafka: str, topic: str, dlq: DlqCommand
) -> None:
    """A record fits into the dead-letter topic and not into the topic of events."""
    large = os.urandom((MAX_RECORD_BYTES + MAX_DEAD_LETTER_BYTES) // 2)
    write_dead_letters(
        kafka, topic, FakeRecord(1, b"before"), FakeRecord(2, large), FakeRecord(3, b"after")
    )

    assert 1 == dlq("replay", "--yes")

    assert "Not replayed: partition 1 offset 2: Broker: Message size too large" in dlq.err
    assert dlq.out.startswith(f"not_json: 2\n2 replayed to {topic}.\n")
    assert [b"after", b"before"] == sorted(value or b"" for _, value in values(kafka, topic))


def test_kafka_going_away_ends_a_replay_with_what_is_not_confirmed(
    crashable_kafka: ApacheKafka, topic_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is counted, the rest may be there or not."""
    monkeypatch.setattr(log_writer, "DELIVERY_SECONDS", 2)
    kafka = crashable_kafka.bootstrap
    topics.make_topics(kafka, topic_name, 1)
    write_dead_letters(kafka, topic_name, *(FakeRecord(n) for n in range(4)))
    with closing(DeadLetterTopic(Settings.load(kafka=kafka, topic=topic_name))) as letter_topic:
        letters = list(letter_topic.read_distinct(Selection()))

    def kill_after_one() -> Iterator[DeadLetter]:
        replay.run(letters[:1], stopped=lambda: False)
        crashable_kafka.kill()
        yield from letters[1:]

    with closing(
        DeadLetterReplay(Settings.load(kafka=kafka), topic_name, on_skip=lambda *_: None)
    ) as replay:
        with pytest.raises(ServerUnavailableError):
            replay.run(kill_after_one(), stopped=lambda: False)

        assert (1, 3, 0) == (replay.replayed.total(), replay.unconfirmed, replay.skipped)


def test_ctrl_c_ends_a_replay_between_two_records(
    kafka: str, topic: str, run_program: Programs
) -> None:
    """It reports how many were replayed, and exactly these are on the topic."""
    letters = 1_000  # each is read from its own topic, which takes seconds in total
    put_records(kafka, topic, [(b"k", b"v", {})] * letters)
    identity = topic_id_of(kafka, topic)
    omitted = [
        (b"k", None, headers_of(topic, identity, offset, omitted_value_bytes="1"))
        for offset in range(letters)
    ]
    put_records(kafka, dead_letter_topic(topic), omitted, partition=0)
    replay = run_program("dlq", "replay", "--yes", "--kafka", kafka, "--topic", topic)
    eventually(lambda: len(topics.read(kafka, topic)) > letters, SECONDS, "a replayed record")

    replay.send_signal(signal.SIGINT)

    assert 130 == replay.wait()
    added = len(topics.read(kafka, topic)) - letters
    assert 0 < added < letters
    assert f"{added:,} replayed to {topic}.\n" in replay.stdout
    assert "Interrupted: the rest was not replayed." in replay.stderr


@pytest.mark.usefixtures("migrated")
def test_what_is_still_bad_comes_back_and_what_is_good_is_stored(
    settings: MakeSettings,
    run_program: Programs,
    clickhouse_client: "Client",
    capsys: Output,
) -> None:
    """T-62: the worker treats replayed records like any others: an event is stored once,
    however often it comes, and what is none is a letter with new coordinates.
    """
    made = settings()
    dlq = DlqCommand(made.kafka, made.topic, capsys)
    good = event(1)
    topics.send(made.kafka, made.topic, [b"no event"], partition=2)
    start_worker(run_program, made)
    eventually(dlq.listed, SECONDS, "the letter")
    write_dead_letters(
        made.kafka, made.topic, FakeRecord(40, encode(good)), reason="unknown_schema_version"
    )

    assert 0 == dlq("replay", "--yes", "--reason", "unknown_schema_version")
    assert 0 == dlq("replay", "--yes")

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
    kafka: str, topic: str, dlq: DlqCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it prints how many there are; `--yes` does not ask."""
    write_dead_letters(kafka, topic, FakeRecord(1))

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert 1 == dlq("replay")
    assert "1 dead letters to replay" in dlq.out
    assert "Nothing was replayed." in dlq.err
    assert [] == topics.read(kafka, topic)
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert 0 == dlq("replay")
    assert 1 == len(topics.read(kafka, topic))
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert 0 == dlq("replay", "--yes")
    assert 2 == len(topics.read(kafka, topic))

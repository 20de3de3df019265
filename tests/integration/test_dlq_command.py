"""`usagepipe dlq list` and `show` as a user runs them."""

import io
import json
import re
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support import topics
from tests.support.dead_letters import (
    DlqCommand,
    await_topics,
    headers_of,
    put_records,
    topic_id_of,
    write_dead_letters,
)
from tests.support.fake_records import FakeRecord
from tests.support.ports import lasting_port
from tests.support.waiting import eventually
from usagepipe.cli.root import run
from usagepipe.consumer.topics.group_offsets import GroupOffsets
from usagepipe.schemas import Settings
from usagepipe.schemas.topics import dead_letter_topic

Output = pytest.CaptureFixture[str]


@pytest.fixture
def dlq(kafka: str, topic: str, capsys: Output) -> DlqCommand:
    await_topics(kafka, topic)
    return DlqCommand(kafka, topic, capsys)


def offsets(rows: Iterable[dict[str, Any]]) -> list[int]:
    return [row["offset"] for row in rows]


def test_a_list_shows_everything_except_the_values(kafka: str, topic: str, dlq: DlqCommand) -> None:
    """Coordinates, reason, times and sizes; neither key nor value."""
    write_dead_letters(kafka, topic, FakeRecord(7, b"a secret", key=b"whose"))

    (row,) = dlq.listed()

    reported = {name: row.pop(name) for name in ("topic_id", "letter_time")}
    assert topic_id_of(kafka, topic) == reported["topic_id"]
    assert datetime.fromisoformat(reported["letter_time"]).year >= 2025
    assert {
        "topic": topic,
        "partition": 1,
        "offset": 7,
        "reason": "not_json",
        "detail": "in full",
        "code": None,
        "column": None,
        "record_time": "2023-11-14T22:13:20.123Z",
        "key_bytes": 5,
        "value_bytes": 8,
        "value_omitted": False,
        "copies": 1,
    } == row
    assert 0 == dlq("list")
    for part in ("not_json", "in full", "2023-11-14 22:13:20"):
        assert part in dlq.out
    assert not [part for part in ("secret", "whose") if part in dlq.out + dlq.err]


def test_a_letter_written_twice_is_one(kafka: str, topic: str, dlq: DlqCommand) -> None:
    """Listed once with its count; a new topic of the same name has its own dead letters."""
    for _ in range(3):
        write_dead_letters(kafka, topic, FakeRecord(7), FakeRecord(8))
    write_dead_letters(kafka, topic, FakeRecord(7), topic_id="f" * 32)

    rows = dlq.listed()

    assert [(7, 3), (8, 3), (7, 1)] == [(row["offset"], row["copies"]) for row in rows]
    assert 0 == dlq("list", "--summary", "--json")
    summary = json.loads(dlq.out)
    assert ("not_json", 3, 7) == tuple(summary[k] for k in ("reason", "letters", "copies"))


def test_filters_choose_letters(kafka: str, topic: str, dlq: DlqCommand) -> None:
    """By reason, by the record's place, and by number, oldest first."""
    write_dead_letters(kafka, topic, *(FakeRecord(offset) for offset in range(5)))
    write_dead_letters(kafka, topic, FakeRecord(2), FakeRecord(9), reason="tombstone", partition=3)

    assert [2, 9] == offsets(dlq.listed("--reason", "tombstone"))
    assert 7 == len(dlq.listed("--reason", "tombstone", "--reason", "not_json"))
    assert [0, 1, 2, 3, 4] == offsets(dlq.listed("--partition", "1"))
    assert 7 == len(dlq.listed("--partition", "1", "--partition", "3"))
    assert [2, 3, 2] == offsets(dlq.listed("--offset", "2-3"))
    assert [9] == offsets(dlq.listed("--offset", "9"))
    assert [0, 1] == offsets(dlq.listed("--limit", "2"))
    assert "The first 2 of 7" in dlq.err
    assert [] == dlq.listed("--reason", "nosuch")


def test_times_are_those_of_the_letters(kafka: str, topic: str, dlq: DlqCommand) -> None:
    """`--from` includes its moment, `--to` does not; the record's own time is another."""
    write_dead_letters(kafka, topic, FakeRecord(1))
    (first,) = dlq.listed()
    wrote_at = datetime.fromisoformat(first["letter_time"])
    later = wrote_at + timedelta(milliseconds=1)
    eventually(lambda: datetime.now(wrote_at.tzinfo) > later)
    write_dead_letters(kafka, topic, FakeRecord(2))

    assert [1, 2] == offsets(dlq.listed("--from", wrote_at.isoformat()))
    assert [2] == offsets(dlq.listed("--from", later.isoformat()))
    assert [1] == offsets(dlq.listed("--to", later.isoformat()))
    assert [] == dlq.listed("--to", wrote_at.isoformat())
    assert [] == dlq.listed("--from", "2999-01-01")
    assert [] == dlq.listed("--to", "2024-01-01")


def test_an_empty_topic_is_said_to_be_empty(dlq: DlqCommand) -> None:
    """The answer is a sentence, or no line of JSON; nothing is replayed."""
    assert [] == dlq.listed()
    assert (0, True) == (dlq("list"), dlq.out.startswith("No dead letters on "))
    assert (0, True) == (dlq("list", "--summary"), dlq.out.startswith("No dead letters on "))
    assert (0, "No dead letters to replay.\n") == (dlq("replay", "--dry-run"), dlq.out)
    assert (0, True) == (dlq("replay", "--yes"), dlq.out.startswith("0 replayed to "))


def test_nothing_is_replayed_without_a_yes(
    kafka: str, topic: str, dlq: DlqCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal too: a script says --yes."""
    write_dead_letters(kafka, topic, FakeRecord(1))

    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))

    assert 1 == dlq("replay")
    assert "Nothing was replayed." in dlq.err
    assert [1] == offsets(dlq.listed())


def test_without_anybody_to_ask_the_option_is_named(
    kafka: str, topic: str, dlq: DlqCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that forgot --yes gets one clear line, and nothing is replayed."""
    write_dead_letters(kafka, topic, FakeRecord(1))

    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    assert 2 == dlq("replay")
    assert "Error: Standard input is not a terminal" in dlq.err
    assert "add --yes" in dlq.err
    assert [1] == offsets(dlq.listed())


def test_a_record_that_is_no_letter_is_left_out(kafka: str, topic: str, dlq: DlqCommand) -> None:
    """The other dead letters are listed, and a warning counts such records."""
    topics.send(kafka, dead_letter_topic(topic), [b"who", None])
    write_dead_letters(kafka, topic, FakeRecord(1))

    assert [1] == offsets(dlq.listed())
    assert "Warning: 2 records on" in dlq.err
    assert 0 == dlq("replay", "--yes")
    assert "Warning: 2 records on" in dlq.err


@pytest.mark.parametrize(
    ("wrong", "reported"),
    [
        (("--offset", "9-3"), "'9-3' ends before it begins"),
        (("--offset", "-3"), "'-3' is not an offset"),
        (("--offset", "x"), "'x' is not an offset"),
        (("--partition", "-1"), "-1 is not in the range"),
        (("--limit", "0"), "0 is not in the range"),
        (("--from", "noon"), "'noon' is not a date or time"),
        (("--from", "2026-02-01", "--to", "2026-02-01"), "is not before --to"),
    ],
)
@pytest.mark.parametrize("name", ["list", "replay"])
def test_wrong_filters_are_wrong_use(
    capsys: Output, name: str, wrong: tuple[str, ...], reported: str
) -> None:
    """Named with their value, before any server is asked."""
    assert 2 == run(["dlq", name, "--kafka", "127.0.0.1:1", *wrong])

    assert reported in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "abc"])
@pytest.mark.parametrize("name", ["list", "replay"])
def test_a_count_that_is_none_consumes_nothing(
    kafka: str, topic: str, dlq: DlqCommand, name: str, count: str
) -> None:
    """T-38: of a queue that is emptied by reading it, a count of 0, -1 or `abc` must take nothing.

    Nothing here is emptied by reading: what takes a number of records is `dlq list`, which reads
    them, and `dlq replay`. Both refuse with one line that names option and
    value; letters, events and committed offsets are as they were.
    """
    write_dead_letters(kafka, topic, FakeRecord(1, b"a"), FakeRecord(2, b"b"))
    before = all_of(kafka, topic)

    status = dlq(name, *(["--yes"] if name == "replay" else []), "--limit", count)

    assert (2, "") == (status, dlq.out)
    (reported,) = [line for line in dlq.err.splitlines() if line.startswith("Error: ")]
    assert "'--limit'" in reported
    assert count in reported
    assert before == all_of(kafka, topic)


def all_of(kafka: str, topic: str) -> dict[str, Any]:
    """The records of both topics, and the offsets that groups have committed there."""
    found: dict[str, Any] = {
        name: topics.read(kafka, name) for name in (topic, dead_letter_topic(topic))
    }
    for group in ("usagepipe", "usagepipe-reads"):
        offsets = GroupOffsets(Settings.load(kafka=kafka), group)
        for name in (topic, dead_letter_topic(topic)):
            found[f"{group} on {name}"] = offsets.read(name, range(4))
        offsets.close()
    return found


def test_a_missing_topic_is_named(kafka: str, topic_name: str, capsys: Output) -> None:
    """With the cure, and it is not made by asking for it."""
    dlq = DlqCommand(kafka, topic_name, capsys)

    assert 1 == dlq("list")

    assert f"There is no topic {dead_letter_topic(topic_name)} on Kafka" in dlq.err
    assert not topics.exists(kafka, dead_letter_topic(topic_name))


def test_kafka_away_is_status_three(capsys: Output) -> None:
    """With the address that was tried."""
    away = f"127.0.0.1:{lasting_port()}"

    assert 3 == run(["dlq", "replay", "--kafka", away])

    assert f"Kafka at {away} cannot be reached" in capsys.readouterr().err


def test_a_letter_is_shown_with_what_it_holds(kafka: str, topic: str, dlq: DlqCommand) -> None:
    """All headers, and key and value as text."""
    write_dead_letters(kafka, topic, FakeRecord(7, '{"naïve": 1}\n'.encode(), key=b"k-1"))
    write_dead_letters(kafka, topic, FakeRecord(7, b"another", key=b"k-2"), partition=2)

    assert 0 == dlq("show", "1", "7")

    for name, text in {
        "reason": "not_json",
        "detail": "in full",
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
    kafka: str, topic: str, dlq: DlqCommand
) -> None:
    """Neither escapes nor bytes that are no text reach a terminal; long values are cut."""
    write_dead_letters(kafka, topic, FakeRecord(7, b"\x1b[31m" + b"x" * 95, key=None))
    write_dead_letters(kafka, topic, FakeRecord(8, "ü".encode() * 50, key=b"\xff"))

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
    """The output has all bytes and nothing else, ready for a file."""
    value = bytes(range(256)) * 40
    write_dead_letters(kafka, topic, FakeRecord(7, value))

    assert 0 == run(["dlq", "show", "1", "7", "--raw", "--kafka", kafka, "--topic", topic])

    assert value == capsysbinary.readouterr().out


def test_what_cannot_be_shown_is_said(kafka: str, topic: str, dlq: DlqCommand) -> None:
    """No such dead letter, one without a value, and one of two topics of the same name."""
    write_dead_letters(kafka, topic, FakeRecord(7, None))

    assert (1, True) == (dlq("show", "1", "8"), "no dead letter of that record" in dlq.err)
    assert (1, True) == (dlq("show", "1", "7", "--raw"), "The record has no value." in dlq.err)
    write_dead_letters(kafka, topic, FakeRecord(7, b"of another"), topic_id="e" * 32)
    assert (2, True) == (dlq("show", "1", "7"), f"--topic-id {'e' * 32}" in dlq.err)
    assert (0, True) == (dlq("show", "1", "7", "--topic-id", "e" * 32), "of another" in dlq.out)


def test_clickhouses_code_and_column_are_shown(kafka: str, topic: str, dlq: DlqCommand) -> None:
    """Of a row that it refused: in JSON as they are, in the table before the detail."""
    headers = headers_of(topic, "a" * 32, 3, code="27", column="cost")
    put_records(kafka, dead_letter_topic(topic), [(b"k", b"v", headers)], partition=0)

    (row,) = dlq.listed("--reason", "refused_by_clickhouse")

    assert (27, "cost", "Cannot parse") == (row["code"], row["column"], row["detail"])
    assert (0, True) == (dlq("list"), "code 27; cost; Cannot parse" in dlq.out)


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("arguments", [("list",), ("list", "--summary")])
def test_letters_fit_every_width(
    kafka: str,
    topic: str,
    dlq: DlqCommand,
    width: int,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a narrow terminal each dead letter is a card; no number or time is cut or wrapped."""
    monkeypatch.setenv("COLUMNS", str(width))
    write_dead_letters(kafka, topic, FakeRecord(1_234_567_890_123, b"x" * 5000), reason="not_json")

    assert 0 == dlq(*arguments)
    assert all(len(line) <= width for line in dlq.out.splitlines()[1:])
    assert re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", dlq.out)
    assert "not_json" in dlq.out
    assert "--summary" in arguments or " 1234567890123 " in dlq.out

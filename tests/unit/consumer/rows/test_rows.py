"""Records as rows: the fast decoder and the event's model say the same of everything."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_records import PARTITION, FakeRecord
from tests.support.hostile import HOSTILE, ID, event_json
from usagepipe.consumer.log.unreadable import UnreadableRecord
from usagepipe.consumer.rows import event_reader
from usagepipe.consumer.rows.rows import Rejected, Rows, encode_rows
from usagepipe.schemas import EventRejectedError, UsageEvent, decode, encode


def rows_of(*values: bytes | None) -> Rows:
    records = [FakeRecord(offset, value) for offset, value in enumerate(values, start=7)]
    return encode_rows(records, PARTITION, "topic-id", epoch=2)


def lines(rows: Rows) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rows.body.splitlines()]


def test_a_row_has_the_event_and_its_coordinates() -> None:
    """What the event says and where it stands in the log; defaults are left to the table."""
    rows = rows_of(event_json(prompt_tokens=5, cost="0.0000001"))

    (row,) = lines(rows)

    assert row.pop("occurred_at").startswith("2026-01-02T03:04:05.678")
    assert {
        "event_id": ID,
        "user_id": "alice",
        "prompt_tokens": 5,
        "cost": "0.0000001",
        "kafka_topic": "usage.events.v1",
        "kafka_topic_id": "topic-id",
        "kafka_partition": 3,
        "kafka_offset": 7,
        "batch_epoch": 2,
        "ingested_at": "1700000000.123",
    } == row


def test_a_record_cannot_name_its_own_coordinates() -> None:
    """A field called kafka_offset in a record is not the record's offset."""
    rows = rows_of(event_json(kafka_offset=999, kafka_topic="other", batch_epoch=5))

    (row,) = lines(rows)

    assert (
        7,
        "usage.events.v1",
        2,
    ) == (row["kafka_offset"], row["kafka_topic"], row["batch_epoch"])


def test_a_coordinate_of_another_type_does_not_spoil_the_record() -> None:
    """The model ignores unknown fields with any content."""
    rows = rows_of(event_json(kafka_offset={"a": [1]}, ingested_at=12))

    assert [7] == [row["kafka_offset"] for row in lines(rows)]


def test_a_bad_record_leaves_its_neighbours_alone() -> None:
    """One line of nonsense is one rejection; the events around it are rows."""
    rows = rows_of(event_json(), b"not json", event_json())

    assert [7, 9] == [row["kafka_offset"] for row in lines(rows)]
    assert [(8, "not_json")] == [(r.record.offset, r.reason) for r in rows.rejected]


@pytest.mark.parametrize(
    ("timestamp", "seconds"),
    [
        (-1, "946684800.000"),  # no time
        (0, "946684800.000"),
        (1_700_000_000_123_456, "4102444799.999"),  # microseconds
        (2**63 - 1, "4102444799.999"),
    ],
)
def test_a_records_own_time_cannot_spoil_its_batch(timestamp: int, seconds: str) -> None:
    """A time that ClickHouse cannot read would have it refuse the whole batch, for ever."""
    records = [FakeRecord(7, event_json(), timestamp=timestamp)]

    (row,) = lines(encode_rows(records, PARTITION, "topic-id", epoch=0))

    assert seconds == row["ingested_at"]


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_each_record_is_one_row_or_one_rejection_as_the_model_says(value: bytes | None) -> None:
    """Every record is exactly one row, or exactly one rejection with a reason."""
    rows = rows_of(value)

    verdict = _verdict(value)
    if isinstance(verdict, UsageEvent):
        assert () == rows.rejected
        assert [verdict] == [_event_of(row) for row in lines(rows)]
    else:
        assert (0, b"") == (rows.count, rows.body)
        assert [verdict] == [(rejected.reason, rejected.detail) for rejected in rows.rejected]


def _verdict(value: bytes | None) -> UsageEvent | tuple[str, str]:
    try:
        return decode(value)
    except EventRejectedError as error:
        return error.reason, error.detail


def _event_of(row: dict[str, Any]) -> UsageEvent:
    fields = {name: row[name] for name in UsageEvent.model_fields if name in row}
    return decode(json.dumps(fields).encode())


moments = st.integers(946_684_800, 4_102_444_799).map(lambda n: datetime.fromtimestamp(n, UTC))
events = st.builds(
    UsageEvent.new,
    event_id=st.uuids(),
    occurred_at=moments,
    user_id=st.text(min_size=1, max_size=256),
    user_name=st.text(max_size=512),
    prompt_tokens=st.integers(0, 10**12),
    cost=st.none()
    | st.decimals(0, Decimal(10**9) - 1, places=12, allow_nan=False, allow_infinity=False),
    tags=st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=9), max_size=5),
    sequence=st.none() | st.integers(1, 2**63 - 1),
    failed=st.booleans(),
)


@given(events)
def test_every_event_comes_through_as_it_was(event: UsageEvent) -> None:
    """What a producer encodes is what the row says."""
    (row,) = lines(rows_of(encode(event)))

    assert event == _event_of(row)


@pytest.mark.parametrize(
    "fields",
    [
        {"event_id": f"{ID}\n{ID}"},
        {"occurred_at": "2026-01-02T03:04:05Z\n2026-01-02T03:04:05Z"},
        {"cost": "1\n2"},
    ],
)
def test_a_line_break_inside_a_text_does_not_pass_for_two(fields: dict[str, str]) -> None:
    """Texts of many records are checked as lines of one."""
    rows = rows_of(event_json(), event_json(**fields), event_json())

    assert [7, 9] == list(rows.offsets)
    assert [8] == [rejected.record.offset for rejected in rows.rejected]


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_no_bytes_make_the_encoder_raise(value: str | bytes) -> None:
    """Nonsense is a rejection, never an exception."""
    raw = value.encode() if isinstance(value, str) else value

    assert 1 == len(rows_of(raw).rejected)


def test_the_fast_decoder_reads_what_producers_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event of our own recorder never takes the slow way."""

    def judge(value: bytes | None) -> None:
        raise AssertionError(f"went before the judge: {value!r}")

    monkeypatch.setattr(event_reader, "_read_by_model", judge)
    event = UsageEvent.new(
        user_id="alice", cost=Decimal("0.00123"), tags={"a": "b"}, ttft_ms=5, sequence=1
    )

    assert 1 == rows_of(encode(event)).count


def test_a_record_that_nobody_read_is_rejected_for_what_is_wrong_with_its_batch() -> None:
    """It has no value, and is no tombstone."""
    unread = UnreadableRecord(8, 1_700_000_000_123, "batch_too_large", "more than it may")

    rows = encode_rows([FakeRecord(7, event_json()), unread], PARTITION, "topic-id", 0)

    assert [7] == list(rows.offsets)
    assert (Rejected(unread, "batch_too_large", "more than it may"),) == rows.rejected

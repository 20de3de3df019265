"""Events as bytes: decoding returns what was encoded, and errors quote nothing of it."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import usagepipe.schemas
from tests.support.any_events import events
from usagepipe.schemas import EventRejectedError, UsageEvent, decode, encode
from usagepipe.schemas.codec import MAX_DETAIL_CHARS, StampingEncoder, json_schema

GOLDEN = Path(__file__).parents[2] / "golden" / "events_v1.jsonl"
SCHEMA = Path(usagepipe.schemas.__file__).parent / "usage-event.schema.json"
REQUIRED = (
    '"event_id":"01a1fdff-d173-7caf-b9f7-1223e9db0938",'
    '"occurred_at":"2026-11-21T12:06:03.379Z","user_id":"u-1"'
)
CANARY = "c4n4ry"  # stands for a secret in the input


def record(fields: str) -> bytes:
    return f"{{{REQUIRED},{fields}}}".encode()


def golden() -> list[Any]:
    lines = GOLDEN.read_text().splitlines()
    return [pytest.param(line := json.loads(text), id=line["name"]) for text in lines]


@pytest.mark.parametrize("case", golden())
def test_recorded_event_decodes_as_it_always_did(case: dict[str, Any]) -> None:
    """Old records of version 1 keep their meaning. Fields that they lack have their defaults."""
    event = decode(case["record"].encode())

    known = json.loads(event.model_dump_json())
    younger = {name: known.pop(name) for name in set(known) - set(case["event"])}
    assert case["event"] == known
    assert set(younger).isdisjoint(event.model_dump(exclude_defaults=True))


@pytest.mark.parametrize("case", golden())
def test_recorded_event_survives_another_round(case: dict[str, Any]) -> None:
    """Encoding and decoding a recorded event again changes nothing."""
    event = decode(case["record"].encode())

    assert event == decode(encode(event))


@settings(deadline=None)  # a shared machine may pause
@given(events)
def test_event_comes_back_as_it_was(event: UsageEvent) -> None:
    """The bytes hold every field of an event."""
    assert event == decode(encode(event))


@settings(deadline=None)  # a shared machine may pause
@given(events, st.integers(1, 2**63 - 1), st.text(min_size=1, max_size=40))
def test_stamped_event_differs_by_its_stamp_alone(
    event: UsageEvent, sequence: int, producer_id: str
) -> None:
    """A producer's id and number replace those of the event."""
    stamped = decode(StampingEncoder(producer_id).encode(event, sequence))

    assert event.model_copy(update={"producer_id": producer_id, "sequence": sequence}) == stamped


def test_record_is_one_object_that_begins_with_its_version() -> None:
    """Any reader sees the version first, and no line break is in a record."""
    event = UsageEvent.new(user_id="u\n-1")

    raw = encode(event)

    assert raw.startswith(b'{"schema_version":1,"event_id":"')
    assert b"\n" not in raw
    assert {"schema_version", "event_id", "occurred_at", "user_id"} == set(json.loads(raw))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "tombstone"),
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"{}{}", "not_json"),
        (record('"model":"m"') * 2, "not_json"),
        (b"\xff\xfe", "not_json"),
        (record('"model":"\xff"').replace("\xff".encode(), b"\xff"), "not_json"),
        (record('"model":"\\ud800"'), "not_json"),
        (b"[" * 5_000 + b"]" * 5_000, "not_json"),
        (record('"x":' + "[" * 5_000 + "]" * 5_000), "not_json"),
        (b"null", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'"event"', "not_an_object"),
        (b"1", "not_an_object"),
        (record('"schema_version":2'), "unknown_schema_version"),
        (record('"schema_version":"1"'), "unknown_schema_version"),
        (record('"schema_version":null'), "unknown_schema_version"),
        (b"{}", "invalid_fields"),
        (record('"prompt_tokens":-1'), "invalid_fields"),
        (record('"prompt_tokens":1.5'), "invalid_fields"),
        (record('"prompt_tokens":NaN'), "invalid_fields"),
        (record('"prompt_tokens":"1"'), "invalid_fields"),
        (record('"prompt_tokens":1e3'), "invalid_fields"),
        (record('"prompt_tokens":18446744073709551616'), "invalid_fields"),
        (record('"prompt_tokens":null'), "invalid_fields"),
        (record('"user_name":"' + "x" * 1_000_000 + '"'), "invalid_fields"),
        (record('"occurred_at":"0001-01-01T00:00:00Z"'), "invalid_fields"),
        (record('"occurred_at":"9999-12-31T23:59:59Z"'), "invalid_fields"),
        (record('"occurred_at":"9999-12-31T23:59:59-23:59"'), "invalid_fields"),
        (record('"occurred_at":"2026-11-21T12:06:03"'), "invalid_fields"),
        (record('"event_id":null'), "invalid_fields"),
        (record('"tags":{"k":1}'), "invalid_fields"),
    ],
)
def test_record_that_is_no_event_is_rejected_by_reason(raw: bytes | None, reason: str) -> None:
    """Each kind of bad record has a reason for the counters."""
    with pytest.raises(EventRejectedError) as caught:
        decode(raw)

    assert reason == caught.value.reason


@pytest.mark.parametrize("field", UsageEvent.model_fields)
def test_rejection_names_the_field(field: str) -> None:
    """The detail names the field that breaks its rule."""
    with pytest.raises(EventRejectedError, match=field):
        decode(record(f'"{field}":[]'))


def test_detail_of_a_rejection_is_bounded() -> None:
    """It is a record's header, so it stays short with any number of mistakes."""
    wrong = ",".join(f'"{name}":[]' for name in UsageEvent.model_fields)

    with pytest.raises(EventRejectedError) as caught:
        decode(record(wrong))

    assert MAX_DETAIL_CHARS == len(caught.value.detail)


@pytest.mark.parametrize(
    "raw",
    [
        CANARY.encode(),
        f'{{"{CANARY}":{CANARY}}}'.encode(),
        *(record(f'"{name}":"{CANARY}"') for name in UsageEvent.model_fields),
        *(record(f'"{name}":{{"{CANARY}":"{CANARY}"}}') for name in UsageEvent.model_fields),
        *(record(f'"{name}":"{CANARY * 1_000}"') for name in UsageEvent.model_fields),
        record(f'"tags":{{"{CANARY}":1}}'),
        record(f'"tags":{{"{CANARY}":"{CANARY * 1_000}"}}'),
        record(f'"event_id":"01a1fdff-{CANARY}"'),
        record(f'"occurred_at":"2026-11-21T{CANARY}"'),
    ],
)
def test_rejection_never_quotes_the_input(raw: bytes) -> None:
    """A bad record may hold keys and prompts: no part of it gets into logs or headers."""
    try:
        decode(raw)
    except EventRejectedError as error:
        reported = f"{error} {error.reason} {error.detail} {error.__cause__}"
        assert CANARY not in reported
        assert "`" not in reported


json_text = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted(UsageEvent.model_fields)) | st.text(max_size=5),
            inner,
            max_size=8,
        )
    ),
    max_leaves=30,
).map(json.dumps)


@settings(deadline=None)  # a shared machine may pause
@given(st.binary(max_size=300) | json_text.map(str.encode))
def test_nothing_but_a_rejection_is_ever_raised(raw: bytes) -> None:
    """For any bytes on the topic the worker sees an event or a rejection."""
    with suppress(EventRejectedError):
        assert isinstance(decode(raw), UsageEvent)


@settings(deadline=None)  # a shared machine may pause
@given(st.sampled_from(sorted(UsageEvent.model_fields)), json_text)
def test_one_wild_field_is_an_event_or_a_rejection(field: str, value: str) -> None:
    """A good record with one wild field decodes to an event within the limits, or not at all."""
    try:
        event = decode(record(f'"{field}":{value}'))
    except EventRejectedError:
        return
    assert event == UsageEvent.model_validate(event.model_dump())


@settings(deadline=None)  # a shared machine may pause
@given(st.integers(0, 400), st.integers(0, 255))
def test_flipped_byte_is_an_event_or_a_rejection(place: int, byte: int) -> None:
    """A record with one changed byte is an event or is rejected."""
    raw = bytearray(record('"model":"m","prompt_tokens":31,"cost":"0.5","tags":{"a":"b"}'))
    raw[place % len(raw)] = byte

    with suppress(EventRejectedError):
        assert isinstance(decode(bytes(raw)), UsageEvent)


def test_checked_in_schema_is_that_of_the_model() -> None:
    """The JSON Schema that others validate against is generated, and up to date."""
    assert json_schema() == SCHEMA.read_text(), (
        "run: python -c 'from usagepipe.schemas.codec import json_schema; "
        'print(json_schema(), end="")\' > schemas/usage-event.schema.json'
    )


def test_time_is_written_with_its_zone() -> None:
    """On the topic a time is RFC 3339 text in UTC."""
    event = UsageEvent.new(user_id="u-1", occurred_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

    assert "2026-01-02T03:04:05Z" == json.loads(encode(event))["occurred_at"]

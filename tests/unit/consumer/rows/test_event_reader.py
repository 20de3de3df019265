"""The fast decoder and the event's model, side by side on bytes that hypothesis makes up."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fake_records import PARTITION, FakeRecord
from tests.support.hostile import ID, event_json
from usagepipe.consumer.rows import event_reader
from usagepipe.consumer.rows.rows import encode_rows
from usagepipe.schemas import EventRejectedError, UsageEvent, decode

EXAMPLES = 2_000

TOKENS = st.sampled_from(
    [
        *(b"0 -0 -0.0 1 1.0 1e0 1E2 1e400 -1e400 1e-400 01 +1 .5 5. 0.1 1e-13 1.5e-7".split()),
        *(b"123456789.123456789012 999999999.99999999999999 1000000000 0e99999999999".split()),
        *(b"18446744073709551615 18446744073709551616 9223372036854775808 1000000000001".split()),
        *(b"NaN Infinity -Infinity nan 0x1 1_000 null nul true True [] {} [1,] {,}".split()),
        b"9" * 25,
        b"9" * 5_000,
        b"0." + b"0" * 400 + b"1",
        b"[" * 201 + b"]" * 201,
        b'{"a":' * 201 + b"1" + b"}" * 201,
    ]
)
PIECES = st.sampled_from(
    [
        *(b'a \\n \\" \\/ \\q \\u0041 \\u00e9 \\0 \\u12 \\ud800 \\udc00 \\ud83d\\ude00'.split()),
        *("é 😀 \u0661".encode().split()),
        *(
            b"\xff \xc3 \x80 \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xf0\x9f\x98 \0 \x7f".split(
                b" "
            )
        ),
        b"\n",
    ]
)
TEXTS = st.lists(PIECES, max_size=3).map(lambda parts: b'"%b"' % b"".join(parts))
OWN_TEXTS = st.sampled_from(
    [
        *(
            b'"1.5" "1e-7" "1.5E-7" "0E-12" "-0" "+1" "01" "1." ".5" "1_0" "" "NaN" " 1"'.split(
                b" "
            )
        ),
        b'"2026-01-02T03:04:05Z"',
        b'"2026-01-02 03:04:05Z"',
        b'"2026-02-30T03:04:05Z"',
        b'"2026-01-02T24:00:00Z"',
        b'"2026-01-02T03:04:05.123456789Z"',
        b'"2026-01-02T03:04:05+00:00"',
        b'"2100-01-01T00:00:00Z"',
        b'"%b"' % ID.upper().encode(),
        b'"complete"',
        b'"\\u0063omplete"',
    ]
)
NAMES = (
    st.sampled_from(list(UsageEvent.model_fields)).map(lambda name: json.dumps(name).encode())
    | st.sampled_from([b'"\\u0075ser_id"', b'"kafka_offset"', b'"USER_ID"', b"1", b"null"])
    | TEXTS
)


def _containers(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    pairs = st.tuples(NAMES, values).map(b":".join)
    return st.lists(values, max_size=2).map(lambda each: b"[%b]" % b",".join(each)) | st.lists(
        pairs, max_size=2
    ).map(lambda each: b"{%b}" % b",".join(each))


VALUES = st.recursive(TOKENS | TEXTS | OWN_TEXTS, _containers, max_leaves=4)
BLANKS = st.sampled_from([b"", b"", b"", b" ", b"\n", b"\t", b"\x0c", b"\xc2\xa0", b"\xef\xbb\xbf"])
LEAST = [
    (b'"%b"' % name, json.dumps(value).encode())
    for name, value in (
        (b"event_id", ID),
        (b"occurred_at", "2026-01-02T03:04:05.678Z"),
        (b"user_id", "alice"),
    )
]


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """An event with fields added, some twice, in any order; now and then with bytes put in."""
    fields = draw(st.permutations(LEAST + draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))))
    blank = draw(BLANKS)
    raw = blank + b"{" + b",".join(n + b":" + blank + v for n, v in fields) + b"}" + draw(BLANKS)
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(raw)))
        raw = raw[:place] + draw(PIECES | st.binary(max_size=2)) + raw[place:]
    return raw


def by_the_model(value: bytes) -> UsageEvent | tuple[str, str]:
    try:
        return decode(value)
    except EventRejectedError as error:
        return error.reason, error.detail


def as_rows(values: list[bytes]) -> list[UsageEvent | tuple[str, str]]:
    """What the worker stores of each value, or the reason and detail of its dead letter."""
    rows = encode_rows(map(FakeRecord, range(1, len(values) + 1), values), PARTITION, "topic-id", 0)
    found: dict[int, UsageEvent | tuple[str, str]] = {
        each.record.offset: (each.reason, each.detail) for each in rows.rejected
    }
    for line in map(json.loads, rows.body.splitlines()):
        found[line["kafka_offset"]] = _event(line)
    return [found[offset] for offset in range(1, len(values) + 1)]


def _event(row: dict[str, Any]) -> UsageEvent:
    return decode(json.dumps({n: row[n] for n in UsageEvent.model_fields if n in row}).encode())


@settings(max_examples=EXAMPLES, deadline=None)
@given(records())
def test_the_worker_stores_what_the_model_accepts_and_nothing_else(value: bytes) -> None:
    """Both agree on every byte string: the event, or the reason of the refusal."""
    assert [by_the_model(value)] == as_rows([value])


@settings(max_examples=EXAMPLES // 10, deadline=None)
@given(st.lists(records(), min_size=2, max_size=5))
def test_records_that_are_read_together_are_read_as_alone(values: list[bytes]) -> None:
    """A neighbour changes nothing."""
    assert [by_the_model(value) for value in values] == as_rows(values)


@pytest.mark.parametrize(
    "units",
    [
        '{"web_searches":1}',
        '{"web_searches":0,"a":1000000000000}',
        '{"web_searches\\n":1}',
        '{"Web":1}',
        '{"1a":1}',
        '{"":1}',
        '{"é":1}',
        '{"a":-1}',
        '{"a":1.5}',
        '{"a":"1"}',
        '{"a":null}',
        '{"a":1000000000001}',
        '{"%s":1}' % ("a" * 64),
        '{"%s":1}' % ("a" * 65),
        json.dumps({f"u{n}": n for n in range(32)}),
        json.dumps({f"u{n}": n for n in range(33)}),
        "[]",
    ],
)
def test_units_are_read_as_the_model_reads_them(units: str) -> None:
    """The names, the counts and the number of units have the same limits in both."""
    value = event_json()[:-1] + f',"units":{units}}}'.encode()

    assert [by_the_model(value)] == as_rows([value])


def test_a_newer_producers_field_does_not_take_the_slow_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Producers may be upgraded before workers."""

    def judge(value: bytes | None) -> None:
        raise AssertionError(f"went before the judge: {value!r}")

    monkeypatch.setattr(event_reader, "_read_by_model", judge)

    assert 1 == len(as_rows([event_json(region="Zürich", hops=[{"a": 1}])]))

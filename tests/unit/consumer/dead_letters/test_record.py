"""How dead letters are read from their headers, selected, and counted."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from confluent_kafka import Message

from usagepipe.consumer.dead_letters.listing import Listing
from usagepipe.consumer.dead_letters.record import (
    Coordinates,
    DeadLetter,
    Envelope,
    SeenCoordinates,
    Selection,
    moment,
    read_dead_letter,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENVELOPE = Envelope(
    Coordinates("a-topic-id", 3, 120),
    topic="usage.events.v1",
    reason="not_json",
    detail="no JSON",
    code=None,
    column="",
    recorded_at=NOON,
    written_at=NOON,
    key_bytes=1,
    value_bytes=2,
    value_omitted=False,
)
HEADERS = {
    "reason": b"not_json",
    "detail": b"no JSON",
    "topic": b"usage.events.v1",
    "topic_id": b"a-topic-id",
    "partition": b"3",
    "offset": b"120",
    "timestamp": b"1772366400000",
}


class FakeMessage:
    """What is read of the client's messages."""

    def __init__(
        self, headers: Iterable[tuple[str, bytes | None]] | None, value: bytes | None = b"{]"
    ) -> None:
        self._headers = None if headers is None else list(headers)
        self._value = value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_772_366_400_000


def letter_of(headers: dict[str, bytes], value: bytes | None = b"{]") -> DeadLetter | None:
    return read_dead_letter(cast(Message, FakeMessage(headers.items(), value)))


def envelope_of(**headers: bytes) -> Envelope:
    letter = letter_of(HEADERS | headers)
    assert letter is not None
    return letter.envelope


def test_a_dead_letter_is_read_from_its_headers() -> None:
    """Coordinates, reason and times; the record is untouched."""
    letter = letter_of(HEADERS)

    assert DeadLetter(ENVELOPE, list(HEADERS.items()), b"k", b"{]") == letter


def test_a_refusal_has_clickhouses_code_and_column() -> None:
    """A dead letter without these headers has None."""
    assert (27, "cost") == (
        envelope_of(code=b"27", column=b"cost").code,
        envelope_of(code=b"27", column=b"cost").column,
    )
    assert None is envelope_of(code=b"").code


def test_an_omitted_value_differs_from_a_tombstone() -> None:
    """Both have no value; one of them had."""
    omitted = letter_of(HEADERS | {"omitted_value_bytes": b"2000000"}, value=None)
    tombstone = letter_of(HEADERS, value=None)

    assert omitted is not None
    assert tombstone is not None
    assert (2_000_000, True) == (omitted.envelope.value_bytes, omitted.envelope.value_omitted)
    assert (None, False) == (tombstone.envelope.value_bytes, tombstone.envelope.value_omitted)


def test_the_size_of_a_value_that_nobody_read_is_unknown() -> None:
    """Its record batch could not be unpacked: even that is not guessed."""
    unread = envelope_of(omitted_value_bytes=b"")

    assert (None, True) == (unread.value_bytes, unread.value_omitted)


@pytest.mark.parametrize("missing", ["reason", "topic", "topic_id", "partition", "offset"])
def test_a_record_without_a_required_header_is_no_dead_letter(missing: str) -> None:
    """It is left out, by any writer, and stops nothing."""
    assert None is letter_of({name: text for name, text in HEADERS.items() if name != missing})


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [("offset", None)],
        (HEADERS | {"offset": b"\xff"}).items(),
        (HEADERS | {"timestamp": b"noon"}).items(),
    ],
)
def test_a_record_with_other_headers_is_no_dead_letter(
    headers: Iterable[tuple[str, bytes | None]] | None,
) -> None:
    """Neither none at all nor bytes that are no number raise."""
    assert None is read_dead_letter(cast(Message, FakeMessage(headers)))


@pytest.mark.parametrize("milliseconds", [-1, 253_402_300_800_000, 2**63 - 1])
def test_a_time_that_is_no_date_is_unknown(milliseconds: int) -> None:
    """A record's time is its producer's word where the topic was made by somebody else."""
    assert None is moment(milliseconds)


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(), True),
        (Selection(reasons=frozenset(["not_json", "tombstone"])), True),
        (Selection(reasons=frozenset(["tombstone"])), False),
        (Selection(excluded=frozenset(["gap"])), True),
        (Selection(excluded=frozenset(["not_json"])), False),
        (Selection(frozenset(["not_json"]), excluded=frozenset(["not_json"])), False),
        (Selection(partitions=frozenset([3, 4])), True),
        (Selection(partitions=frozenset([4])), False),
        (Selection(offsets=(120, 120)), True),
        (Selection(offsets=(0, 119)), False),
        (Selection(offsets=(121, 200)), False),
        (Selection(topic_id="a-topic-id"), True),
        (Selection(topic_id="another"), False),
        (Selection(start=NOON), True),
        (Selection(start=NOON + timedelta(milliseconds=1)), False),
        (Selection(end=NOON), False),
        (Selection(end=NOON + timedelta(milliseconds=1)), True),
        (Selection(partitions=frozenset([3]), reasons=frozenset(["tombstone"])), False),
    ],
)
def test_a_selection_chooses_by_all_that_is_given(selection: Selection, chosen: bool) -> None:
    """Ranges of offsets have both ends in them, ranges of time their first moment only."""
    assert chosen == selection.has(ENVELOPE)


def test_coordinates_are_new_once() -> None:
    """The same offset of another partition or topic is another."""
    seen = SeenCoordinates()
    places = [("a", 1, 5), ("a", 2, 5), ("b", 1, 5), ("a", 1, 6), ("a", 1, 5), ("b", 1, 5)]

    news = [seen.add(Coordinates(*place)) for place in places]

    assert [True, True, True, True, False, False] == news


def test_a_listing_counts_what_it_does_not_list() -> None:
    """It lists the first dead letters with their copies, and counts all of them by reason."""
    places = [1, 2, 1, 3, 3, 1]
    letters = [
        DeadLetter(
            replace(
                ENVELOPE,
                coordinates=Coordinates("a", 0, offset),
                reason="odd" if offset % 2 else "even",
                written_at=NOON + timedelta(seconds=second),
            ),
            [],
            None,
            None,
        )
        for second, offset in enumerate(places)
    ]

    listing = Listing.of(letters, limit=2)

    assert [(1, 3), (2, 1)] == [
        (listed.envelope.coordinates.offset, listed.copies) for listed in listing.rows.values()
    ]
    odd = listing.reasons["odd"]
    assert (3, 2, 5) == (listing.total, odd.dead_letters, odd.copies)
    assert (NOON, NOON + timedelta(seconds=5)) == (odd.first_written_at, odd.last_written_at)

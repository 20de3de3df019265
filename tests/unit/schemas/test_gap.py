"""The gap record reports lost events, and no reader mistakes it for an event."""

from datetime import UTC, datetime, timedelta

import pytest

from usagepipe.consumer.rows.event_reader import read_events
from usagepipe.schemas import EventRejectedError, UsageEvent, decode, encode
from usagepipe.schemas.codec import MAX_DETAIL_CHARS
from usagepipe.schemas.gap import UsageGap, decode_gap, encode_gap, is_gap

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
GAP = UsageGap(
    producer_id='host-1-"ab',
    last_sequence=40,
    lost={"spill_full": 12, "too_large": 1},
    since=NOON,
    until=NOON + timedelta(milliseconds=1_500),
)


def test_a_gap_record_comes_back_as_it_went() -> None:
    """Decoding returns the encoded record, and `losses` names the reasons."""
    assert GAP == decode_gap(encode_gap(GAP))
    assert "spill_full 12, too_large 1" == GAP.losses


def test_a_gap_record_is_no_event() -> None:
    """The contract's decoder and the worker's fast one refuse it, and say what it is."""
    with pytest.raises(EventRejectedError) as refused:
        decode(encode_gap(GAP))
    (fast,) = read_events([encode_gap(GAP)])

    reported = ("gap", "lost before Kafka: spill_full 12, too_large 1")
    assert reported == (refused.value.reason, refused.value.detail)
    assert reported == (fast.reason, fast.detail)


def test_the_losses_of_a_gap_record_are_cut() -> None:
    """64 reasons of 64 characters are too long for a header; the letter's value has them all."""
    lost = {f"{'r' * 63}{sign}": 1 for sign in "abcdefghijklmnopqrstuvwxyz"}
    value = encode_gap(GAP.model_copy(update={"lost": lost}))

    with pytest.raises(EventRejectedError) as refused:
        decode(value)
    (fast,) = read_events([value])

    assert MAX_DETAIL_CHARS == len(refused.value.detail)
    assert refused.value.detail == fast.detail


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        encode(UsageEvent.new(user_id="u")),
        b'{"usage_gap":}',
        b'{"usage_gap":{"producer_id":"p"}}',
        encode_gap(GAP).replace(b"spill_full", b"<script>"),
        encode_gap(GAP).replace(b":12,", b":0,"),
        encode_gap(GAP)[:-1],
        encode_gap(GAP) + b"x",
    ],
)
def test_what_is_no_gap_record_is_read_as_none(value: bytes | None) -> None:
    """A record that breaks the contract is not a gap record; its dead letter says why."""
    assert decode_gap(value) is None


def test_a_field_of_a_later_version_is_ignored() -> None:
    """A newer producer may add fields."""
    more = encode_gap(GAP).replace(b'"last_sequence"', b'"host":"a","last_sequence"')

    assert is_gap(more)
    assert GAP == decode_gap(more)

"""What an audit keeps of the dead letters."""

import time
from datetime import UTC, datetime

from tests.support.fake_records import letters
from usagepipe.consumer.dead_letters.index import DeadLetterIndex
from usagepipe.schemas import UsageEvent, encode
from usagepipe.schemas.gap import UsageGap, encode_gap

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def gap(last: int, producer: str = "p") -> UsageGap:
    return UsageGap(
        producer_id=producer, last_sequence=last, lost={"queue_full": 1}, since=NOON, until=NOON
    )


def test_offsets_sequences_and_losses_are_kept() -> None:
    """Offsets of all dead letters, sequence numbers of events, and gap records are kept."""
    event = UsageEvent.new(user_id="u", producer_id="p", sequence=7)
    values = [encode(event), None, b"{", encode_gap(gap(3)), encode_gap(gap(9, "q"))]

    facts = DeadLetterIndex(letters(values))

    assert [0, 1, 2, 3, 4] == facts.offsets(3)
    assert ({7}, set()) == (facts.sequences("p"), facts.sequences("q"))
    assert ["p", "q"] == facts.reporting_producers
    assert [[gap(3)], [gap(9, "q")], []] == [facts.gap_records(each) for each in "pqr"]


def test_a_gap_record_that_was_sent_twice_counts_once() -> None:
    """A spill that is sent again reports no loss twice."""
    facts = DeadLetterIndex(letters([encode_gap(gap(3)), encode_gap(gap(4)), encode_gap(gap(3))]))

    assert [gap(3), gap(4)] == facts.gap_records("p")


def test_many_gap_records_of_a_producer_are_read_in_linear_time() -> None:
    """A day and a half of losses, reported every 30 seconds, is read at once."""
    many = letters(encode_gap(gap(last)) for last in range(1, 5_001))
    started = time.monotonic()

    facts = DeadLetterIndex(many)

    assert time.monotonic() - started < 5  # 0.1 s; a quarter of a minute if each asked for all
    assert 5_000 == len(facts.gap_records("p"))

"""Which numbers of a producer count as lost: all between its rows, elsewhere those it reported."""

from datetime import UTC, datetime, timedelta

from tests.support.fake_records import letters
from usagepipe.consumer.dead_letters.index import DeadLetterIndex
from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.maintenance.audit_sequences import SequenceGap, sequence_gaps
from usagepipe.schemas import UsageEvent, encode
from usagepipe.schemas.gap import UsageGap, encode_gap

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
NOTHING = DeadLetterIndex()
DAY = timedelta(days=1)


def gap(last: int, lost: int, producer: str = "p") -> UsageGap:
    """At noon the last of the lost ones was `last`."""
    return UsageGap(
        producer_id=producer, last_sequence=last, lost={"spill_full": lost}, since=NOON, until=NOON
    )


def reported(*gaps: UsageGap) -> DeadLetterIndex:
    return DeadLetterIndex(letters(map(encode_gap, gaps)))


def facts(found: tuple[SequenceGap, ...]) -> tuple[str, int, int]:
    """The missing numbers of the one producer, how many are lost, and how many are under way."""
    (of_one,) = found
    return ", ".join(map(str, of_one.missing)), of_one.lost, of_one.under_way


def rows(first: int, last: int) -> dict[str, OffsetRange]:
    return {"p": OffsetRange(first, last)}


def missing(first: int, last: int) -> dict[str, list[OffsetRange]]:
    return {"p": [OffsetRange(first, last)]}


def test_a_number_between_rows_is_lost_even_if_it_was_not_reported() -> None:
    """A process that ends by `kill -9` reports nothing."""
    assert ("3-4", 2, 0) == facts(sequence_gaps(missing(3, 4), {}, NOTHING, None))


def test_a_number_with_a_dead_letter_is_not_lost() -> None:
    """The event arrived and was refused: between the rows, and after the last one."""
    refused = [
        encode(UsageEvent.new(user_id="u", producer_id="p", sequence=number)) for number in (4, 10)
    ]
    known = DeadLetterIndex(letters([*refused, encode_gap(gap(11, lost=2))]))

    assert ("3, 11", 2, 0) == facts(sequence_gaps(missing(3, 4), rows(1, 9), known, None))


def test_after_the_last_row_as_many_are_lost_as_were_reported() -> None:
    """The events before the lost one are on their way: the gap record arrived first."""
    found = sequence_gaps({}, rows(1, 160), reported(gap(1_101, lost=3)), None)

    assert ("161-1101", 3, 938) == facts(found)


def test_what_is_missing_between_rows_is_not_lost_again_after_them() -> None:
    """Five were reported: four of them are between the rows, so one comes after them."""
    known = reported(gap(6, lost=4), gap(20, lost=1))

    found = sequence_gaps(missing(3, 6), rows(1, 15), known, None)

    assert ("3-6, 16-20", 5, 4) == facts(found)
    assert (gap(6, lost=4), gap(20, lost=1)) == found[0].reports


def test_all_is_lost_of_a_producer_that_reported_it_and_has_no_row() -> None:
    """Whether raw is complete, or its retention has removed rows long before."""
    known = reported(gap(500, lost=500))

    assert ("1-500", 500, 0) == facts(sequence_gaps({}, {}, known, None))
    assert ("1-500", 500, 0) == facts(sequence_gaps({}, {}, known, NOON - DAY))


def test_rows_that_have_left_raw_are_no_loss() -> None:
    """A producer's rows have expired, and then it lost one event."""
    found = sequence_gaps({}, {}, reported(gap(500, lost=1)), NOON - DAY)

    assert ("1-500", 1, 499) == facts(found)


def test_a_loss_before_the_first_row_is_known_if_raw_is_not_complete() -> None:
    """A producer lost its first hundred events; its rows begin after them."""
    found = sequence_gaps({}, rows(101, 300), reported(gap(100, lost=100)), NOON - DAY)

    assert ("1-100", 100, 0) == facts(found)


def test_losses_from_before_raw_is_complete_do_not_count() -> None:
    """Neither as missing numbers, nor as the reason of others that are only under way."""
    old = reported(gap(100, lost=100))

    assert () == sequence_gaps({}, {}, old, NOON + DAY)
    assert ("3", 1, 0) == facts(sequence_gaps(missing(3, 3), rows(2, 9), old, NOON + DAY))


def test_producers_are_separate() -> None:
    """Losses of one producer explain no numbers of another; one without losses is not listed."""
    known = reported(gap(12, 1, "q"), gap(9, 1, "whole"))
    stored = {"p": OffsetRange(1, 9), "q": OffsetRange(1, 10), "whole": OffsetRange(1, 9)}

    found = sequence_gaps(missing(3, 4), stored, known, None)

    assert [("p", 2, 0), ("q", 1, 1)] == [(g.producer_id, g.lost, g.under_way) for g in found]


def test_a_number_beyond_all_bounds_counts_no_more_losses_than_reported() -> None:
    """A wrong report about another producer's events is one range, even if it is huge."""
    known = reported(gap(2**63 - 1, lost=1))

    assert (f"10-{2**63 - 1}", 1, 2**63 - 11) == facts(sequence_gaps({}, rows(1, 9), known, None))

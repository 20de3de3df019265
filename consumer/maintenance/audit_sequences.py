"""Finds events that were lost before Kafka, by gaps in the producers' sequence numbers.

A number that is missing between stored ones is lost. After the last row of a producer, a missing
event may be lost or still on its way, and gap records report how many are lost, not which. There,
only as many numbers count as lost as were reported; the others fail nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from usagepipe.consumer.dead_letters.index import DeadLetterIndex
from usagepipe.consumer.log.offset_ranges import OffsetRange, size, without
from usagepipe.schemas.gap import UsageGap

_NO_ROWS: Final = OffsetRange(1, 0)


@dataclass(frozen=True, slots=True)
class SequenceGap:
    """Sequence numbers of a producer with neither a row nor a dead letter."""

    producer_id: str
    missing: tuple[OffsetRange, ...]
    under_way: int = 0  # of those outside of its rows, how many were not reported as lost
    reports: tuple[UsageGap, ...] = ()  # the producer's own gap records

    @property
    def lost(self) -> int:
        return size(self.missing) - self.under_way


def sequence_gaps(
    between: Mapping[str, Sequence[OffsetRange]],
    stored: Mapping[str, OffsetRange],
    dead_letters: DeadLetterIndex,
    compared_from: datetime | None,
) -> tuple[SequenceGap, ...]:
    """The gaps of all producers that have any.

    `stored` has the first and last stored number of producers that reported losses and have rows;
    `between` has the numbers without a row from the first to the last. Before `compared_from` raw
    is not complete, so older reports count for nothing outside of the rows.
    """

    def gap_of(producer: str) -> SequenceGap:
        reports = dead_letters.gap_records(producer)
        counted = [each for each in reports if compared_from is None or each.until >= compared_from]
        refused = dead_letters.sequences(producer)
        inside = without(between.get(producer, ()), refused)
        last_lost = [each.last_sequence for each in counted]
        outside = without(_outside(stored.get(producer, _NO_ROWS), last_lost), refused)
        # Losses between the rows were reported too: they do not count a second time outside.
        lost_outside = max(0, sum(sum(each.lost.values()) for each in counted) - size(inside))
        under_way = max(0, size(outside) - lost_outside)
        return SequenceGap(producer, tuple(sorted([*inside, *outside])), under_way, tuple(reports))

    reporting = (each for each in dead_letters.reporting_producers if each not in between)
    return tuple(gap for gap in map(gap_of, (*between, *reporting)) if gap.missing)


def _outside(stored: OffsetRange, lost: Sequence[int]) -> Iterable[OffsetRange]:
    """The numbers before and after the stored ones, up to the last reported loss on each side."""
    before = max((number for number in lost if number < stored.first), default=0)
    after = max(lost, default=0)
    ranges = OffsetRange(1, before), OffsetRange(stored.last + 1, after)
    return (each for each in ranges if each.first <= each.last)

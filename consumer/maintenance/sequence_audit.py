"""Says which numbers of a producer (`sequence`) are lost before Kafka.

Between stored numbers a missing one is lost. Behind a producer's last row the tables tell nothing:
an event that is missing there may be lost or still on its way, and the gap records tell how many
are lost, not which. So no more count as losses than were told; the rest fails nothing.
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
    """Numbers that a producer gave to events of which there is neither a row nor a letter."""

    producer_id: str
    missing: tuple[OffsetRange, ...]
    under_way: int = 0  # of those outside of its rows, how many it has not told to be lost
    told: tuple[UsageGap, ...] = ()  # what it says of its losses

    @property
    def lost(self) -> int:
        return size(self.missing) - self.under_way


def sequence_gaps(
    between: Mapping[str, Sequence[OffsetRange]],
    stored: Mapping[str, OffsetRange],
    letters: DeadLetterIndex,
    compared_from: datetime | None,
) -> tuple[SequenceGap, ...]:
    """The gaps of all producers that have any.

    `stored` has the first and last stored number of those that told of losses and have rows, and
    `between` the numbers without a row from the first to the last. Raw is not whole before
    `compared_from`: what was lost until then is no longer looked for outside of the rows.
    """
    producers = [*between, *(each for each in letters.reporting_producers if each not in between)]
    gaps = (
        _gap(
            producer,
            between.get(producer, ()),
            stored.get(producer, _NO_ROWS),
            letters,
            compared_from,
        )
        for producer in producers
    )
    return tuple(gap for gap in gaps if gap.missing)


def _gap(
    producer: str,
    between: Sequence[OffsetRange],
    stored: OffsetRange,
    letters: DeadLetterIndex,
    compared_from: datetime | None,
) -> SequenceGap:
    told = letters.gap_records(producer)
    counted = [gap for gap in told if compared_from is None or gap.until >= compared_from]
    refused = letters.sequences(producer)
    between = without(between, refused)
    outside = without(_outside(stored, [gap.last_sequence for gap in counted]), refused)
    # What is missing between the rows was told as well, and is not lost a second time outside.
    lost_outside = max(0, sum(sum(gap.lost.values()) for gap in counted) - size(between))
    under_way = max(0, size(outside) - lost_outside)
    return SequenceGap(producer, tuple(sorted([*between, *outside])), under_way, tuple(told))


def _outside(stored: OffsetRange, lost: Sequence[int]) -> Iterable[OffsetRange]:
    """The numbers before and behind the stored ones, as far as `lost` ones are there."""
    before = max((number for number in lost if number < stored.first), default=0)
    behind = max(lost, default=0)
    ranges = OffsetRange(1, before), OffsetRange(stored.last + 1, behind)
    return (each for each in ranges if each.first <= each.last)

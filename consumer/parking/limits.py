"""Limits on dead letters: a partition whose records are nearly all refused is parked.

Without limits a worker would empty a whole topic into the dead-letter topic. A producer of the
wrong version, or one that writes to the wrong topic, does that.
"""

from collections import deque
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from usagepipe.schemas.settings import WorkerSettings

# A share of fewer records says nothing: one bad record of two is no wrong topic.
LEAST_RECORDS: Final = 1_000
WINDOW_RECORDS: Final = 10_000  # the share is taken of the newest ones, in whole batches
RUN_VARIABLE: Final = "USAGEPIPE_DEAD_LETTER_RUN"
RATIO_VARIABLE: Final = "USAGEPIPE_DEAD_LETTER_RATIO"


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """The most of a partition's records that may be refused: in a row, and as a share."""

    run: int
    ratio: float

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        return cls(settings.dead_letter_run, settings.dead_letter_ratio)


class Counted(NamedTuple):
    """What was counted of a partition: another count can go on from here."""

    run: int = 0  # refused in a row
    refused_run: int = 0  # refused in a row by ClickHouse
    records: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Excess:
    """What was counted when a limit was passed, and what had been counted before."""

    run: int
    records: int
    refused: int
    before: Counted

    @property
    def ratio(self) -> float:
        """The share that is refused; 0 of too few records to take a share of."""
        return self.refused / self.records if self.records >= LEAST_RECORDS else 0.0


NOTHING: Final = Counted()


class DeadLetterCounter:
    """Counts one partition's records and refused ones against the limits."""

    def __init__(
        self, limits: DeadLetterLimits, counted: Counted = NOTHING, exempt: range = range(0)
    ) -> None:
        """Go on from `counted`. Offsets in `exempt` never count."""
        self._limits = limits
        self._exempt = exempt
        self._counted_to = -1  # the greatest offset: a range may come again, in halves
        self._restore(counted)

    def add(self, offsets: Sequence[int], refused: Set[int]) -> Excess | None:
        """Count a batch before a letter of it is sent; one that comes again counts no more.

        A batch that passes a limit is not counted, since it may be tried again: the excess is
        returned.
        """
        if self._is_partly_known(offsets):
            offsets = [offset for offset in offsets if self._counts(offset)]
            refused = refused & set(offsets)
        if not offsets:
            return None
        before, counted_to = self._counted, self._counted_to
        self._counted_to = offsets[-1]
        self._add_to_window(len(offsets), len(refused))
        excess = self._excess(self._run_through(offsets, refused), before)
        if excess is not None:
            self._counted_to = counted_to
        return excess

    def refuse(self, offset: int) -> Excess | None:
        """Count one more of the records that were added: ClickHouse refused it.

        One that passes a limit is not counted: the excess is returned.
        """
        if offset in self._exempt:
            return None
        before = self._counted
        self._refused_run += 1
        self._add_to_window(0, 1)
        return self._excess(self._refused_run, before)

    def store(self) -> None:
        """ClickHouse took some."""
        self._refused_run = 0

    @property
    def _counted(self) -> Counted:
        return Counted(self._run, self._refused_run, self._records, self._refused)

    def _restore(self, counted: Counted) -> None:
        self._run, self._refused_run, self._records, self._refused = counted
        self._batches = deque([(self._records, self._refused)])  # records and refused ones of each

    def _is_partly_known(self, offsets: Sequence[int]) -> bool:
        return bool(offsets) and (
            offsets[0] <= self._counted_to
            or (offsets[0] < self._exempt.stop and offsets[-1] >= self._exempt.start)
        )

    def _counts(self, offset: int) -> bool:
        return offset > self._counted_to and offset not in self._exempt

    def _run_through(self, offsets: Sequence[int], refused: Set[int]) -> int:
        """The longest run of refused records that ends in here."""
        if not refused:
            self._run = 0
            return 0
        longest = 0
        for offset in offsets:
            self._run = self._run + 1 if offset in refused else 0
            longest = max(longest, self._run)
        return longest

    def _add_to_window(self, records: int, refused: int) -> None:
        self._batches.append((records, refused))
        self._records += records
        self._refused += refused
        while self._records - self._batches[0][0] >= WINDOW_RECORDS:
            records, refused = self._batches.popleft()
            self._records -= records
            self._refused -= refused

    def _excess(self, run: int, before: Counted) -> Excess | None:
        found = Excess(run, self._records, self._refused, before)
        if run <= self._limits.run and found.ratio <= self._limits.ratio:
            return None
        self._restore(before)
        return found

"""Limits on dead letters: a partition is parked when too many of its records are refused.

Without limits, a producer of the wrong version, or one that writes to the wrong topic, would make
the worker turn a whole topic into dead letters.
"""

from collections import deque
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from usagepipe.schemas.settings import WorkerSettings

# The ratio of fewer records means nothing: one bad record of two is not a wrong topic.
LEAST_RECORDS: Final = 1_000
WINDOW_RECORDS: Final = 10_000  # the ratio is that of the newest records, in whole batches
RUN_VARIABLE: Final = "USAGEPIPE_DEAD_LETTER_RUN"
RATIO_VARIABLE: Final = "USAGEPIPE_DEAD_LETTER_RATIO"


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """The most records of a partition that may be refused: consecutive ones, and as a ratio."""

    run: int
    ratio: float

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        return cls(settings.dead_letter_run, settings.dead_letter_ratio)


class Counts(NamedTuple):
    """The counts of a partition, from which another counter can continue."""

    run: int = 0  # consecutive refused records
    refused_run: int = 0  # consecutive records refused by ClickHouse
    records: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Excess:
    """The counts that exceed a limit, and the counts before them."""

    run: int
    records: int
    refused: int
    before: Counts

    @property
    def ratio(self) -> float:
        """The refused share of the records; 0 if there are fewer than `LEAST_RECORDS`."""
        return self.refused / self.records if self.records >= LEAST_RECORDS else 0.0


NO_COUNTS: Final = Counts()


class DeadLetterCounter:
    """Counts the records and the refused records of one partition, and checks the limits."""

    def __init__(
        self, limits: DeadLetterLimits, counted: Counts = NO_COUNTS, exempt: range = range(0)
    ) -> None:
        """Continue from `counted`. Offsets in `exempt` never count."""
        self._limits = limits
        self._exempt = exempt
        self._counted_to = -1  # the greatest counted offset: a range may come again, in halves
        self._restore(counted)

    def add(self, offsets: Sequence[int], refused: Set[int]) -> Excess | None:
        """Count a batch, before its dead letters are sent. Offsets that come again do not count.

        Returns the excess of a batch that exceeds a limit. Such a batch is not counted, because it
        may be tried again.
        """
        if self._is_partly_counted(offsets):
            offsets = [offset for offset in offsets if self._counts(offset)]
            refused = refused & set(offsets)
        if not offsets:
            return None
        before, counted_to = self._counted, self._counted_to
        self._counted_to = offsets[-1]
        self._add_to_window(len(offsets), len(refused))
        excess = self._excess(self._longest_run(offsets, refused), before)
        if excess is not None:
            self._counted_to = counted_to
        return excess

    def refuse(self, offset: int) -> Excess | None:
        """Count a record that ClickHouse refused; its batch was added before.

        Returns the excess of a record that exceeds a limit. Such a record is not counted.
        """
        if offset in self._exempt:
            return None
        before = self._counted
        self._refused_run += 1
        self._add_to_window(0, 1)
        return self._excess(self._refused_run, before)

    def store(self) -> None:
        """ClickHouse accepted rows: its consecutive refusals start again at 0."""
        self._refused_run = 0

    @property
    def _counted(self) -> Counts:
        return Counts(self._run, self._refused_run, self._records, self._refused)

    def _restore(self, counted: Counts) -> None:
        self._run, self._refused_run, self._records, self._refused = counted
        # The records and the refused records of each batch.
        self._batches = deque([(self._records, self._refused)])

    def _is_partly_counted(self, offsets: Sequence[int]) -> bool:
        return bool(offsets) and (
            offsets[0] <= self._counted_to
            or (offsets[0] < self._exempt.stop and offsets[-1] >= self._exempt.start)
        )

    def _counts(self, offset: int) -> bool:
        return offset > self._counted_to and offset not in self._exempt

    def _longest_run(self, offsets: Sequence[int], refused: Set[int]) -> int:
        """The longest run of refused records that ends in this batch."""
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

    def _excess(self, run: int, before: Counts) -> Excess | None:
        found = Excess(run, self._records, self._refused, before)
        if run <= self._limits.run and found.ratio <= self._limits.ratio:
            return None
        self._restore(before)
        return found

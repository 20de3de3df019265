"""Limits on dead letters: a worker that refuses nearly everything stops, instead of emptying a
topic into the dead-letter topic. A producer of the wrong version or the wrong topic does that.
"""

from collections import deque
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Self

from usagepipe.consumer.records import TopicPartition
from usagepipe.schemas.errors import CheckFailedError
from usagepipe.schemas.settings import Settings

# A share of fewer records says nothing: one bad record of two is no wrong topic.
LEAST_RECORDS = 1_000
WINDOW_RECORDS = 10_000  # what the share is of: the newest so many, in whole batches


class TooManyDeadLettersError(CheckFailedError):
    """More records were refused than the limits allow: the worker stops, nothing is lost."""


@dataclass(frozen=True, slots=True)
class LetterLimits:
    """The most of a partition's records that may be refused: in a row, and as a share."""

    run: int
    ratio: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.dead_letter_run, settings.dead_letter_ratio)


class LetterCount:
    """Counts one partition's records and refused ones against the limits."""

    def __init__(self, partition: TopicPartition, limits: LetterLimits) -> None:
        self._partition = partition
        self._limits = limits
        self._refused_run = 0  # by ClickHouse, with none in between that it took
        self._counted = -1  # the greatest offset: a range may come again, in halves
        self._run = 0
        self._batches: deque[tuple[int, int]] = deque()  # records and refused ones of each
        self._records = 0
        self._refused = 0

    def add(self, offsets: Sequence[int], refused: Set[int]) -> None:
        """Count a batch before a letter of it is sent; one that comes again counts no more.

        Raises:
            TooManyDeadLettersError: a limit is passed. The batch is not acknowledged, so the
                records are read again when the worker is started again.
        """
        if not offsets or offsets[-1] <= self._counted:
            return
        if offsets[0] <= self._counted:
            offsets = [offset for offset in offsets if offset > self._counted]
            refused = {offset for offset in refused if offset > self._counted}
        self._counted = offsets[-1]
        self._add_to_window(len(offsets), len(refused))
        longest = self._run_through(offsets, refused)
        if longest > self._limits.run:
            raise self._error(f"{longest} records in a row are refused", "RUN", self._limits.run)
        self._check_ratio()

    def refuse(self) -> None:
        """Count one more of the records that were added: ClickHouse refused it.

        Raises:
            TooManyDeadLettersError: a limit is passed.
        """
        self._refused_run += 1
        if self._refused_run > self._limits.run:
            what = f"ClickHouse refuses {self._refused_run} records in a row"
            raise self._error(what, "RUN", self._limits.run)
        self._add_to_window(0, 1)
        self._check_ratio()

    def store(self) -> None:
        """ClickHouse took some."""
        self._refused_run = 0

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

    def _check_ratio(self) -> None:
        if self._records >= LEAST_RECORDS and self._refused > self._limits.ratio * self._records:
            what = f"{self._refused} of the last {self._records} records are refused"
            raise self._error(what, "RATIO", self._limits.ratio)

    def _error(self, what: str, limit: str, value: float) -> TooManyDeadLettersError:
        return TooManyDeadLettersError(
            f"{self._partition}: {what}; USAGEPIPE_DEAD_LETTER_{limit} is {value}. Nothing is "
            "lost: what is not a letter yet stays on the topic. See what they are (usagepipe dlq "
            "list shows the letters before), mend their producer or this worker's version, or "
            "raise the limit."
        )

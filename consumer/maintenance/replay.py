"""Reads a part of the log again and stores the rows that the tables lack.

It never reads beyond the workers' committed offset: later records are theirs to store. Progress is
committed in a group of its own, after the rollups of the stored rows are right. An interrupted
replay resumes there; one that has ended starts from the beginning.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from usagepipe.consumer.dead_letters.index import LazyDeadLetterIndex
from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.maintenance.log_records import LogRecord, read_batches
from usagepipe.consumer.maintenance.log_truncation import first_truncation
from usagepipe.consumer.maintenance.replay_plan import (
    ReplayCounts,
    ReplayPart,
    ReplayProgress,
    ReplayRequest,
    plan_part,
)
from usagepipe.consumer.maintenance.row_repair import Findings, RowRepair, unsettled_offsets
from usagepipe.consumer.protocol.positions import Position
from usagepipe.consumer.rollups.comparison_sql import UnsettledOffsets
from usagepipe.consumer.topics.group_offsets import GroupOffsets
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.settings import StorageSettings

REBUILD_EVERY_SECONDS: Final = 15.0  # each time compares all days that were written to
PAUSE_SECONDS: Final = 0.2  # Ctrl-C is handled in between

OnProgress = Callable[[int], None]  # the number of offsets that were replayed


class Replayer:
    """Replays a topic. Use it in one thread and close it."""

    def __init__(self, settings: StorageSettings, progress_group: str, wait_seconds: float) -> None:
        """Blocks until Kafka answers.

        `wait_seconds` is the longest wait for rollups that are being written.

        Raises:
            WrongUseError: the progress group is the workers' group.
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        if progress_group == settings.group:
            raise WrongUseError(
                f"--progress-group {progress_group} is the workers' group: progress needs a group "
                "of its own."
            )
        self._settings = settings
        self._topic = settings.topic
        self._wait_seconds = wait_seconds
        self._log = LogReader(settings, settings.topic)
        self._topic_id = self._log.topic_id()
        self._workers = GroupOffsets(settings, settings.group)
        self._progress = GroupOffsets(settings, progress_group)
        self._repair = RowRepair(settings, self._topic_id, self._unsettled)
        self._dead_letters = LazyDeadLetterIndex(
            settings, settings.dead_letter_topic, self._topic_id
        )
        self._truncations: dict[int, int | None] = {}

    def close(self) -> None:
        for each in (self._log, self._workers, self._progress, self._repair):
            each.close()

    def plan(self, request: ReplayRequest) -> list[ReplayPart]:
        """The part of each requested partition, cut to what the workers have committed.

        Raises:
            WrongUseError: the topic has no such partition.
        """
        numbers = self._log.partitions
        if request.partition is not None:
            if request.partition not in numbers:
                raise WrongUseError(f"{self._topic} has no partition {request.partition}.")
            numbers = (request.partition,)
        committed = self._workers.read(self._topic, numbers)
        done = self._progress.read(self._topic, numbers)
        progress = ReplayProgress(self._topic_id, request)
        return [
            progress.resume(plan_part(self._log, number, request, committed.get(number)), done)
            for number in numbers
        ]

    def run(
        self,
        parts: Sequence[ReplayPart],
        request: ReplayRequest,
        *,
        dry_run: bool = False,
        rate: float | None = None,
        on_progress: OnProgress = lambda _: None,
    ) -> ReplayCounts:
        """Replay the parts, at most `rate` records per second. A dry run changes nothing.

        Raises:
            RollupsBusyError: the rollups were being written the whole time. Run it again.
        """
        progress = ReplayProgress(self._topic_id, request)
        counts, limit = ReplayCounts(), _RateLimit(rate)
        for part in parts:
            run = _PartRun(part, progress, counts, limit, dry_run, on_progress)
            self._replay(run)
            limit.wait(0)
        return counts

    def _replay(self, run: "_PartRun") -> None:
        part, counts = run.part, run.counts
        if not part.offsets:
            run.on_progress(0)
            return
        position, rebuilt_at = part.first, time.monotonic()
        span = OffsetRange(part.first, part.end - 1)
        for batch in read_batches(self._log, part.partition, span):
            run.limit.wait(len(batch))
            # 1. Store the missing rows. A crash after it leaves rows that the next run recognizes
            #    by their epoch, and whose days it rebuilds.
            found = self._repair.compare(part.partition, batch)
            found = self._without_dead_letters(found, batch)
            counts.add(found)
            if not run.dry_run:
                counts.days |= self._repair.store_missing(found)
            end = batch[-1].offset + 1
            run.on_progress(end - position)
            position = end
            if not run.dry_run and time.monotonic() - rebuilt_at >= REBUILD_EVERY_SECONDS:
                self._commit_progress(run, position, ended=False)
                rebuilt_at = time.monotonic()
        run.on_progress(part.end - position)
        if not run.dry_run:
            self._commit_progress(run, part.end, ended=True)

    def _without_dead_letters(self, found: Findings, batch: Sequence[LogRecord]) -> Findings:
        """Without rows that ClickHouse refused before: they would fail the whole batch."""
        if not found.missing:
            return found
        index = self._dead_letters.get()
        refused = set(index.offsets(found.partition))
        truncation = self._first_truncation(found.partition)
        if truncation is not None:  # an old dead letter may be of a record that the log has lost
            refused -= {
                record.offset
                for record in batch
                if record.offset >= truncation
                and not index.matches(found.partition, record.offset, record.value)
            }
        left = tuple(each for each in found.missing if each.offset not in refused)
        return replace(found, missing=left, dead_lettered=len(found.missing) - len(left))

    def _first_truncation(self, partition: int) -> int | None:
        if partition not in self._truncations:
            with LogReader(self._settings, self._topic) as log:  # the other one is in use
                borders = partial(self._workers.epoch_borders, self._topic)
                self._truncations[partition] = first_truncation(log, borders, partition)
        return self._truncations[partition]

    def _commit_progress(self, run: "_PartRun", position: int, *, ended: bool) -> None:
        # 2. Rebuild the rollups of the days that were written to. A crash after it repeats it.
        counts = run.counts
        counts.rebuilt += self._repair.rebuild_rollups(counts.days, self._wait_seconds)
        counts.days.clear()
        # 3. Commit the progress. The next run resumes here, or starts again if this one has ended.
        metadata = run.progress.encode(ended=ended)
        self._progress.commit(self._topic, run.part.partition, position, metadata)

    def _committed(self) -> dict[int, Position]:
        return self._workers.read(self._topic, self._log.partitions)

    def _unsettled(self) -> Sequence[UnsettledOffsets]:
        return unsettled_offsets(self._topic_id, self._committed())


@dataclass(frozen=True, slots=True)
class _PartRun:
    """One part that is being replayed."""

    part: ReplayPart
    progress: ReplayProgress
    counts: ReplayCounts
    limit: "_RateLimit"
    dry_run: bool
    on_progress: OnProgress


class _RateLimit:
    """Delays batches so that on average at most `rate` records per second pass."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._next = time.monotonic()

    def wait(self, records: int) -> None:
        """Return when the records that passed before have had their time."""
        if self._rate is None:
            return
        while (left := self._next - time.monotonic()) > 0:
            time.sleep(min(left, PAUSE_SECONDS))
        self._next = max(self._next, time.monotonic()) + records / self._rate

"""Reads a part of the log again and stores the rows that the tables lack.

It never reads beyond the workers' committed offset: later records are theirs to store. Progress is
committed in a group of its own, after the rollups of the stored rows are right. An interrupted
replay resumes there; one that has ended starts from the beginning.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from usagepipe.consumer.dead_letters.index import LazyDeadLetterIndex
from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.maintenance.consumed_topic import ConsumedTopic
from usagepipe.consumer.maintenance.log_records import LogRecord, read_batches
from usagepipe.consumer.maintenance.replay_plan import (
    ReplayCounts,
    ReplayPart,
    ReplayRequest,
    plan_part,
    progress_metadata,
    resume,
)
from usagepipe.consumer.maintenance.row_repair import Findings, RowRepair
from usagepipe.consumer.topics.group_offsets import GroupOffsets
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.settings import StorageSettings

REBUILD_EVERY_SECONDS: Final = 15.0  # each time compares all days that were written to
PAUSE_SECONDS: Final = 0.2  # Ctrl-C is handled in between

Batch = Sequence[LogRecord]
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
        self._wait_seconds = wait_seconds
        self._topic = ConsumedTopic(settings)
        self._progress = GroupOffsets(settings, progress_group)
        self._repair = RowRepair(self._topic)
        self._dead_letters = LazyDeadLetterIndex(settings, self._topic.topic_id)
        self._truncations: dict[int, int | None] = {}

    def close(self) -> None:
        for each in (self._topic, self._progress, self._repair):
            each.close()

    def plan(self, request: ReplayRequest) -> list[ReplayPart]:
        """The part of each requested partition, cut to what the workers have committed.

        Raises:
            WrongUseError: the topic has no such partition.
        """
        name, numbers = self._settings.topic, self._topic.log.partitions
        if request.partition is not None:
            if request.partition not in numbers:
                raise WrongUseError(f"{name} has no partition {request.partition}.")
            numbers = (request.partition,)
        committed = self._topic.group.read(name, numbers)
        done = self._progress.read(name, numbers)
        interrupted = progress_metadata(self._topic.topic_id, request, ended=False)
        parts = [
            plan_part(self._topic.log, number, request, committed.get(number)) for number in numbers
        ]
        return [resume(part, done.get(part.partition), interrupted) for part in parts]

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
        counts = ReplayCounts()
        for part in parts:
            position, rebuilt_at = part.first, time.monotonic()
            span = OffsetRange(part.first, part.end - 1)
            batches = read_batches(self._topic.log, part.partition, span)
            for batch in _paced(batches, rate):
                # 1. Store the missing rows. A crash after it leaves rows that the next run
                #    recognizes by their epoch, and whose days it rebuilds.
                found = self._repair.compare(part.partition, batch)
                found = self._without_dead_letters(found, batch)
                counts.add(found)
                if not dry_run:
                    counts.days |= self._repair.store_missing(found)
                end = batch[-1].offset + 1
                on_progress(end - position)
                position = end
                if not dry_run and time.monotonic() - rebuilt_at >= REBUILD_EVERY_SECONDS:
                    self._commit_progress(part, position, request, counts)
                    rebuilt_at = time.monotonic()
            on_progress(part.end - position)
            if part.offsets and not dry_run:
                self._commit_progress(part, part.end, request, counts)
        return counts

    def _without_dead_letters(self, found: Findings, batch: Batch) -> Findings:
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
        """The first start of a later leader epoch: before it, nothing was truncated."""
        if partition not in self._truncations:
            starts = self._topic.epoch_starts(partition, *self._topic.log.span(partition))
            self._truncations[partition] = starts[0] if starts else None
        return self._truncations[partition]

    def _commit_progress(
        self, part: ReplayPart, position: int, request: ReplayRequest, counts: ReplayCounts
    ) -> None:
        # 2. Rebuild the rollups of the days that were written to. A crash after it repeats it.
        counts.rebuilt += self._repair.rebuild_rollups(counts.days, self._wait_seconds)
        counts.days.clear()
        # 3. Commit the progress. The next run resumes here, or starts again if this one has ended.
        metadata = progress_metadata(self._topic.topic_id, request, ended=position == part.end)
        self._progress.commit(self._settings.topic, part.partition, position, metadata)


def _paced(batches: Iterable[Batch], rate: float | None) -> Iterator[Batch]:
    """The batches, on average at most `rate` records per second."""
    started = time.monotonic()
    for batch in batches:
        yield batch
        while rate and (left := started + len(batch) / rate - time.monotonic()) > 0:
            time.sleep(min(left, PAUSE_SECONDS))
        started = time.monotonic()

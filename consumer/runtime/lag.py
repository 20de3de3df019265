"""The lag and the age of each partition of the worker, for its metrics."""

import time
from collections.abc import Mapping
from typing import NamedTuple

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.runtime.metrics import WorkerMetrics


class Progress(NamedTuple):
    """How far a partition has come. Times are of arrival in the log, in milliseconds."""

    position: int  # everything before it is stored
    waiting_since: int | None = None  # the oldest record that was fetched and is not stored
    newest_stored: int | None = None  # None: this worker has stored none of it


class LogEnd(NamedTuple):
    """Where a log ends, and the offset that is fetched next (None: unknown)."""

    end: int
    fetched: int | None


def lag_of(progress: Progress, log: LogEnd) -> int:
    """How many offsets wait. Only control records may follow the last record."""
    if progress.waiting_since is None and log.fetched is not None and log.fetched >= log.end:
        return 0
    return max(0, log.end - progress.position)


class Lag:
    """Sets the gauges of lag and age, a series for each partition that this worker holds."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._progress: Mapping[TopicPartition, Progress] = {}
        self._noticed: dict[TopicPartition, tuple[int, float]] = {}

    def update(
        self, progress: Mapping[TopicPartition, Progress], ends: Mapping[TopicPartition, LogEnd]
    ) -> None:
        """Take what is known now. Partitions that are held no more lose their series."""
        metrics = self._metrics
        if self._progress.keys() != progress.keys():
            for gauge in (metrics.lag_events, metrics.lag_seconds, metrics.newest_stored_age):
                gauge.clear()
            self._noticed = {tp: each for tp, each in self._noticed.items() if tp in progress}
        self._progress = progress
        for partition, log in ends.items():
            lag = lag_of(progress[partition], log)
            metrics.lag_events.labels(str(partition.partition)).set(lag)
            self._notice(partition, lag)
        self.age()

    def _notice(self, partition: TopicPartition, lag: int) -> None:
        """Note since when a position waits: of records that nobody fetched, nothing else is known.

        A parked partition that this worker took over has such records.
        """
        position = self._progress[partition].position
        if not lag:
            self._noticed.pop(partition, None)
        elif self._noticed.get(partition, (None,))[0] != position:
            self._noticed[partition] = position, time.time()

    def age(self) -> None:
        """Set the ages to what they are at this moment."""
        now = time.time()
        for partition, progress in self._progress.items():
            label = str(partition.partition)
            waiting = 0.0
            if progress.waiting_since is not None:
                waiting = max(0.0, now - progress.waiting_since / 1000)
            elif partition in self._noticed:
                waiting = max(0.0, now - self._noticed[partition][1])
            self._metrics.lag_seconds.labels(label).set(waiting)
            if progress.newest_stored is not None:
                age = max(0.0, now - progress.newest_stored / 1000)
                self._metrics.newest_stored_age.labels(label).set(age)

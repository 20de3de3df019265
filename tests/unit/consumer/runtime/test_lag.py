"""The lag of a worker, as its metrics show it."""

import time

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.runtime.lag import Lag, LogEnd, Progress, lag_of
from usagepipe.consumer.runtime.metrics import WorkerMetrics

ONE = TopicPartition("t", 1)
TWO = TopicPartition("t", 2)


def value(metrics: WorkerMetrics, name: str, partition: int) -> float | None:
    found: float | None = metrics.registry.get_sample_value(name, {"partition": str(partition)})
    return found


def test_what_is_not_stored_yet_waits() -> None:
    """Fetched or not, it counts from the last stored offset to the end of the log."""
    assert 60 == lag_of(Progress(40, waiting_since=1), LogEnd(100, 100))
    assert 60 == lag_of(Progress(40), LogEnd(100, 40))


def test_marks_of_transactions_do_not_wait() -> None:
    """All was fetched and nothing of it waits: no record stands after the last stored one."""
    assert 0 == lag_of(Progress(99), LogEnd(100, 100))


def test_a_parked_partition_ages_from_the_moment_it_was_noticed() -> None:
    """Nobody fetches its records, so their own times are unknown."""
    metrics = WorkerMetrics()
    lag = Lag(metrics)

    lag.update({ONE: Progress(5)}, {ONE: LogEnd(9, 5)})
    seen = time.time()
    lag.age()

    assert 4 == value(metrics, "usagepipe_lag_events", 1)
    assert 0 <= (value(metrics, "usagepipe_lag_seconds", 1) or 0) <= time.time() - seen + 1


def test_the_oldest_waiting_record_gives_the_lag_its_age() -> None:
    """It arrived ten seconds ago; the newest stored event a minute ago."""
    metrics = WorkerMetrics()
    now = time.time()
    progress = Progress(5, int((now - 10) * 1000), int((now - 60) * 1000))

    Lag(metrics).update({ONE: progress}, {ONE: LogEnd(9, 9)})

    assert 10 <= (value(metrics, "usagepipe_lag_seconds", 1) or 0) < 40
    assert 60 <= (value(metrics, "usagepipe_newest_stored_age_seconds", 1) or 0) < 90


def test_a_partition_that_is_held_no_more_has_no_series() -> None:
    """Another worker shows it now."""
    metrics = WorkerMetrics()
    lag = Lag(metrics)
    lag.update({ONE: Progress(5), TWO: Progress(5)}, {ONE: LogEnd(9, 5), TWO: LogEnd(9, 5)})

    lag.update({TWO: Progress(5)}, {TWO: LogEnd(9, 5)})

    assert value(metrics, "usagepipe_lag_events", 1) is None
    assert 4 == value(metrics, "usagepipe_lag_events", 2)

"""Closing a recorder that has no Kafka ends in time and counts what is left."""

import time

import pytest

from tests.support.absent_kafka import NOWHERE
from tests.support.events import event
from tests.support.logs import capture_logs
from usagepipe.producer import UsageRecorder

pytestmark = pytest.mark.usefixtures("no_spill")


@pytest.mark.alone
def test_close_gives_up_in_time_and_counts_what_was_left() -> None:
    """Closing without Kafka ends after its time, and each event left is counted as failed."""
    recorder = UsageRecorder(kafka=NOWHERE)
    for _ in range(50):
        recorder.record(event())
    started = time.monotonic()

    left = recorder.close(timeout=0.2)

    assert 50 == left
    assert time.monotonic() - started < 2.0
    assert {"delivery_failed": 50} == recorder.snapshot().dropped
    assert 0 == recorder.snapshot().queued


def test_close_twice_is_harmless() -> None:
    """T-15: the second close returns at once, with nothing left."""
    recorder = UsageRecorder(kafka=NOWHERE)
    recorder.record(event())
    recorder.close(timeout=0.1)

    assert 0 == recorder.close(timeout=60)
    assert {"delivery_failed": 1} == recorder.snapshot().dropped


@pytest.mark.alone
def test_close_does_not_repeat_the_wait_of_a_stop() -> None:
    """An application that ends without Kafka waits once, with any number of events left."""
    recorder = UsageRecorder(kafka=NOWHERE, close_seconds=2)
    recorder.record(event())
    started = time.monotonic()

    left = [recorder.stop(), recorder.stop(), recorder.close()]

    assert [1, 1, 1] == left
    assert 2.0 <= time.monotonic() - started < 3.9  # 2 + 0.5 + 0.5, where it was 6


def test_application_that_starts_again_waits_again() -> None:
    """A stop that ran out of time does not shorten that of the application's next life."""
    recorder = UsageRecorder(kafka=NOWHERE, close_seconds=0.8)
    recorder.record(event())
    recorder.stop()
    recorder.start()
    started = time.monotonic()

    recorder.close()

    assert 0.8 <= time.monotonic() - started


def test_last_line_has_the_exact_loss() -> None:
    """One line of the log counts all events that are given up."""
    recorder = UsageRecorder(kafka=NOWHERE)
    for _ in range(3):
        recorder.record(event())

    with capture_logs() as logs:
        left = recorder.close(timeout=0.1)

    logged = [entry for entry in logs if entry["event"].startswith("usage_events_")]
    assert 3 == left
    assert [("usage_events_given_up", 3, {"delivery_failed": 3})] == [
        (entry["event"], entry["events"], entry["dropped"]) for entry in logged
    ]


def test_event_after_close_is_counted() -> None:
    """A closed recorder refuses events, and says why."""
    recorder = UsageRecorder(kafka=NOWHERE)
    recorder.close()

    assert recorder.record(event()) is False
    assert {"closed": 1} == recorder.snapshot().dropped


def test_flush_returns_what_is_left() -> None:
    """A flush that runs out of time returns how many events wait."""
    with UsageRecorder(kafka=NOWHERE, close_seconds=0.1) as recorder:
        recorder.record(event())

        assert 1 == recorder.flush(timeout=0.1)

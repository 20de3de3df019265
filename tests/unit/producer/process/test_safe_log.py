"""The producer's log never raises, and what happens without it is counted."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.absent_kafka import NOWHERE
from tests.support.events import event
from tests.support.waiting import eventually
from tests.support.watched import CHAT, Bench, answering
from usagepipe.producer import UsageRecorder
from usagepipe.producer.process.safe_log import log

SECONDS = 10


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("No space left on device")


@pytest.fixture
def _broken_log() -> Iterator[None]:
    """The application's handler raises at each line."""
    handler = Broken()
    logging.getLogger("usagepipe").addHandler(handler)
    yield
    logging.getLogger("usagepipe").removeHandler(handler)


@pytest.fixture
def recorder() -> UsageRecorder:
    """It has no Kafka, and nowhere to keep events but its memory."""
    return UsageRecorder(kafka=NOWHERE, spill_dir="", queue_events=100)


def fail(*_: object) -> Any:
    raise KeyError("secret")


@pytest.mark.usefixtures("_broken_log")
def test_a_line_that_cannot_be_written_raises_nothing() -> None:
    """The application's handler raises, the producer's log does not."""
    with pytest.raises(OSError, match="No space"):
        logging.getLogger("usagepipe.other").error("lost")

    log.debug("lost")
    log.warning("lost", events=1)
    log.error("lost", error="KeyError")


@pytest.mark.usefixtures("_broken_log")
def test_events_are_counted_where_no_line_can_be_written(recorder: UsageRecorder) -> None:
    """With Kafka away and the log broken: `record()` says no, the thread lives and counts."""
    with recorder:
        accepted = [recorder.record(event()) for _ in range(2_000)]
        eventually(lambda: recorder.snapshot().oldest_unsent_seconds > 1, SECONDS, "an outage")
        threads = [thread.name for thread in threading.enumerate()]

        given_up = recorder.close(timeout=0.2)

    assert [True] * 100 == accepted[:100]
    assert "usagepipe-delivery" in threads
    assert 100 == given_up
    assert 2_000 == sum(recorder.snapshot().dropped.values())


@pytest.mark.usefixtures("_broken_log")
def test_a_request_is_served_where_no_line_can_be_written() -> None:
    """A fault that cannot be logged is counted; the client gets its answer."""
    bench = Bench(answering(CHAT), identify=fail)

    answer = bench.get()

    assert CHAT == answer.json()
    assert {"identify_failed": 1} == bench.unrecorded

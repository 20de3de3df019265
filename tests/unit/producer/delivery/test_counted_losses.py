"""A recorder without Kafka or a spill never blocks or raises, and counts every loss."""

import _thread
import asyncio
import time

import httpx
import pytest
from fastapi import FastAPI

from tests.support.absent_kafka import NOWHERE
from tests.support.events import event
from tests.support.logs import capture_logs
from usagepipe.producer import UsageRecorder
from usagepipe.producer.delivery import kafka_producer_handle

pytestmark = pytest.mark.usefixtures("no_spill")


@pytest.mark.alone
def test_queue_keeps_its_bound_and_counts_the_rest() -> None:
    """T-13: without Kafka the first N events are kept, each further one is counted, none waits."""
    with UsageRecorder(kafka=NOWHERE, queue_events=100, close_seconds=0.1) as recorder:
        recorder.start()
        started = time.perf_counter()
        accepted = [recorder.record(event()) for _ in range(2_500)]
        seconds = time.perf_counter() - started

        snapshot = recorder.snapshot()

    assert [True] * 100 + [False] * 2_400 == accepted
    assert (100, 100, 0) == (snapshot.recorded, snapshot.queued, snapshot.delivered)
    assert {"queue_full": 2_400} == snapshot.dropped
    assert seconds < 1.0  # 400 µs an event: a hundred times what it takes


def test_one_warning_for_1024_drops() -> None:
    """2,400 drops make three warnings, and Kafka's absence makes one line."""
    recorder = UsageRecorder(kafka=NOWHERE, queue_events=1)

    with capture_logs() as logs:
        for _ in range(2_401):
            recorder.record(event())
        recorder.close(timeout=0.5)

    logged = [entry["event"] for entry in logs]
    assert 3 == logged.count("usage_events_dropped")
    assert 1 == logged.count("kafka_failed")


def test_snapshot_can_be_served() -> None:
    """A route may return the snapshot as it is: its keys are text, so it is JSON."""
    app = FastAPI()

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.get("/usage-counters")

    with UsageRecorder(kafka=NOWHERE, close_seconds=0.1) as recorder:
        recorder.counters.leave_out("/v1/embeddings", "no_user")
        app.get("/usage-counters")(recorder.snapshot)

        answer = asyncio.run(ask())

    assert 200 == answer.status_code
    assert {"/v1/embeddings": {"no_user": 1}} == answer.json()["unrecorded"]


def test_event_larger_than_the_topic_takes_is_counted() -> None:
    """An event that Kafka would refuse never enters the queue."""
    with UsageRecorder(kafka=NOWHERE, close_seconds=0.1) as recorder:
        huge = event().model_copy(update={"tags": {"t": "x" * 2_000_000}})

        recorder.record(huge)
        recorder.flush()

        assert {"too_large": 1} == recorder.snapshot().dropped


def test_event_that_cannot_be_encoded_is_counted() -> None:
    """An event made around its checks does not raise in the request."""
    with UsageRecorder(kafka=NOWHERE, close_seconds=0.1) as recorder:
        wrong = event().model_copy(update={"user_id": object()})

        recorder.record(wrong)
        recorder.flush()

        assert {"invalid": 1} == recorder.snapshot().dropped


def test_handle_that_cannot_be_made_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application starts without librdkafka's handle, and its events wait for one."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(kafka_producer_handle, "Producer", refuse)
    recorder = UsageRecorder(kafka=NOWHERE)

    with capture_logs() as logs:
        recorder.start()
        accepted = recorder.record(event())
        left = recorder.close(timeout=0.2)

    assert "delivery_step_failed" in [entry["event"] for entry in logs]
    assert (True, 1) == (accepted, left)
    assert {"delivery_failed": 1} == recorder.snapshot().dropped


def test_thread_that_cannot_be_started_costs_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread nothing could be sent: the event is dropped and counted, nothing raises."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    recorder = UsageRecorder(kafka=NOWHERE)

    accepted = recorder.record(event())

    recorder.close()
    assert not accepted
    assert {"record_failed": 1} == recorder.snapshot().dropped

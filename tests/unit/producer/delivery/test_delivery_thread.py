"""The delivery thread goes on after any error, and what it leaves is counted."""

import time
from typing import Any

import pytest

from tests.support.absent_kafka import NOWHERE
from tests.support.events import event
from tests.support.logs import capture_logs
from tests.support.waiting import eventually
from usagepipe.producer import UsageRecorder
from usagepipe.producer.delivery.delivery_thread import DeliveryThread
from usagepipe.producer.delivery.kafka_producer_handle import KafkaProducerHandle
from usagepipe.schemas import UsageEvent

SECONDS = 10


@pytest.fixture
def recorder() -> UsageRecorder:
    """It has no Kafka, and nowhere to keep events but its memory."""
    return UsageRecorder(kafka=NOWHERE, spill_dir="", queue_events=100)


class Panic(BaseException):
    """No Exception, like a panic in an extension that is written in Rust."""


def fail(*_: object) -> Any:
    raise KeyError("secret")


class Hostile(str):
    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        raise Panic


def test_an_event_that_breaks_its_encoder_is_lost_alone(recorder: UsageRecorder) -> None:
    """No exception holds up the next events."""
    hostile = UsageEvent.model_construct(**event().model_dump() | {"api_key_id": Hostile("k")})
    recorder.record(hostile)
    recorder.record(event())

    given_up = recorder.close(timeout=0.2)

    assert 1 == given_up
    assert {"invalid": 1, "delivery_failed": 1} == recorder.snapshot().dropped


def test_the_thread_goes_on_after_anything(
    recorder: UsageRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that no `except Exception` catches is logged, and the next step follows."""
    serve, steps = KafkaProducerHandle.serve, []

    def failing_first(handle: KafkaProducerHandle, seconds: float, *, hurry: bool) -> None:
        steps.append(handle)
        if len(steps) == 1:
            raise Panic
        serve(handle, seconds, hurry=hurry)

    monkeypatch.setattr(KafkaProducerHandle, "serve", failing_first)
    with capture_logs() as logs, recorder:
        recorder.start()

        eventually(lambda: len(steps) > 1, SECONDS, "another step")
        recorder.close(timeout=0.1)

    assert "Panic at test_delivery_thread.py" in logs[0]["error"]


@pytest.mark.parametrize(
    ("owner", "dying"), [(DeliveryThread, "run"), (KafkaProducerHandle, "take_back")]
)
def test_what_a_dead_thread_left_is_counted(
    recorder: UsageRecorder, monkeypatch: pytest.MonkeyPatch, owner: type, dying: str
) -> None:
    """A thread that is gone, or that fails when it ends: closing does not wait, and counts the
    events that were lost with it."""
    monkeypatch.setattr(owner, dying, fail)
    for _ in range(7):
        recorder.record(event())
    started = time.monotonic()

    given_up = recorder.close(timeout=SECONDS if owner is DeliveryThread else 0.1)

    assert 7 == given_up
    assert time.monotonic() - started < SECONDS / 2
    assert {"delivery_failed": 7} == recorder.snapshot().dropped
    assert 0 == recorder.snapshot().queued

"""What the producer reports to Prometheus: each number once, bounded labels, no errors."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.support.events import event
from tests.support.logs import capture_logs
from tests.support.watched import CHAT, PATH, Bench, answering
from usagepipe.producer import UsageRecorder
from usagepipe.producer.telemetry.counters import Counters
from usagepipe.producer.telemetry.meters import DeliveryNumbers
from usagepipe.producer.telemetry.metrics import MAX_MODELS, ProducerMetrics, PrometheusMeter
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.schemas.errors import MissingExtraError
from usagepipe.schemas.event import MAX_ID_CHARS

Value = Callable[..., float | None]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def meter(registry: CollectorRegistry) -> PrometheusMeter:
    return PrometheusMeter(ProducerMetrics(registry))


@pytest.fixture
def value(registry: CollectorRegistry) -> Value:
    """The value of a series by its name and labels."""
    return lambda name, **labels: registry.get_sample_value(f"usagepipe_{name}", labels)


def numbers(
    recorded: int, delivered: int, spilled: int, resent: int, *, queued: int, **now: Any
) -> DeliveryNumbers:
    settled = recorded - queued
    return DeliveryNumbers(
        recorded, delivered, settled=settled, spilled=spilled, resent=resent, **now
    )


def test_tokens_are_counted_by_model_and_kind(meter: PrometheusMeter, value: Value) -> None:
    """Sums of the events' own numbers; parts are kinds of their own."""
    meter.tokens(event(model="m", prompt_tokens=10, cached_tokens=4, completion_tokens=3))
    meter.tokens(event(model="m", prompt_tokens=1, reasoning_tokens=0))
    meter.tokens(event(requested_model="asked", prompt_tokens=5))

    kinds = ("prompt", "cached", "completion", "reasoning")
    assert [11, 4, 3, None] == [value("tokens_total", model="m", kind=kind) for kind in kinds]
    assert 5 == value("tokens_total", model="asked", kind="prompt")


def test_models_are_bounded(meter: PrometheusMeter, value: Value) -> None:
    """Models that a stranger makes up do not fill the memory: the rest shares one name."""
    for number in range(MAX_MODELS + 7):
        meter.tokens(event(model=f"m-{number}", prompt_tokens=1))

    assert 7 == value("tokens_total", model="(other)", kind="prompt")


def test_labels_that_a_stranger_chose_can_be_exposed(
    registry: CollectorRegistry, meter: PrometheusMeter, value: Value
) -> None:
    """A path or a model with half a character, or too long, does not end `/metrics` for good."""
    unchecked = event(prompt_tokens=1)

    Counters(meter).leave_out("/\udcff", "no_user")
    meter.tokens(unchecked.model_copy(update={"model": "m\ud800"}))
    meter.tokens(unchecked.model_copy(update={"model": "x" * 999}))

    assert b"usagepipe_" in generate_latest(registry)
    assert 1 == value("requests_unrecorded_total", endpoint="/?", reason="no_user")
    assert 1 == value("tokens_total", model="m?", kind="prompt")
    assert 1 == value("tokens_total", model="x" * MAX_ID_CHARS, kind="prompt")


def test_progress_is_counted_once(meter: PrometheusMeter, value: Value) -> None:
    """A sum that is reported again adds its increase; the other numbers have their newest value."""
    meter.delivery(numbers(5, 2, 1, 0, queued=3, spill_bytes=100, oldest_seconds=1.5))
    meter.delivery(numbers(9, 9, 1, 1, queued=0, spill_bytes=0, oldest_seconds=0.0))
    meter.delivery(numbers(9, 9, 1, 1, queued=0, spill_bytes=0, oldest_seconds=0.0))

    names = ("recorded", "delivered", "spilled", "resent")
    assert [9, 9, 1, 1] == [value(f"events_{name}_total") for name in names]
    assert 0 == value("queue_events") == value("spill_bytes") == value("oldest_unsent_seconds")


def test_gauges_are_of_all_recorders_of_a_process(
    registry: CollectorRegistry, value: Value
) -> None:
    """Two recorders do not overwrite each other's; one that has ended has nothing any more."""
    metrics = ProducerMetrics(registry)
    one, other = PrometheusMeter(metrics), PrometheusMeter(metrics)

    def now() -> tuple[float | None, ...]:
        return value("queue_events"), value("spill_bytes"), value("oldest_unsent_seconds")

    one.delivery(numbers(5, 0, 0, 0, queued=5, spill_bytes=100, oldest_seconds=7.0))
    other.delivery(numbers(1, 0, 0, 0, queued=1, spill_bytes=10, oldest_seconds=2.0))
    both = now()
    other.delivery(numbers(1, 1, 0, 0, queued=0, spill_bytes=0, oldest_seconds=0.0))
    one_waits = now()
    one.ended()

    assert ((6, 110, 7.0), (5, 100, 7.0), (0, 0, 0.0)) == (both, one_waits, now())
    assert 6 == value("events_recorded_total")


def test_gauges_of_a_forked_process_are_its_own(meter: PrometheusMeter, value: Value) -> None:
    """A child has none of its parent's events, and does not wait for a lock that was held then."""
    meter.delivery(numbers(5, 0, 0, 0, queued=5, spill_bytes=100, oldest_seconds=7.0))
    metrics = meter.metrics
    with metrics._recorders[os.getpid()].lock:
        child = os.fork()
        if child == 0:
            PrometheusMeter(metrics).delivery(numbers(1, 0, 0, 0, queued=1))
            os._exit(int(value("queue_events") or 0))
        _, status = os.waitpid(child, 0)

    assert 1 == os.waitstatus_to_exitcode(status)


def test_every_count_is_a_metric(meter: PrometheusMeter, value: Value) -> None:
    """Losses and unrecorded requests are in both, with the same labels."""
    counters = Counters(meter)

    counters.drop("queue_full", 3)
    counters.leave_out("/v1", "no_user")

    assert 3 == value("events_dropped_total", reason="queue_full")
    assert 1 == value("requests_unrecorded_total", endpoint="/v1", reason="no_user")


def test_the_time_of_watching_is_a_metric(meter: PrometheusMeter, value: Value) -> None:
    """Each watched request is one observation, of more than nothing."""
    recorder = MemoryRecorder(metrics=True)
    recorder.counters = Counters(meter)
    bench = Bench(answering(CHAT), recorder=recorder)

    bench.post(PATH)
    bench.post(PATH)

    assert 2 == value("added_seconds_count")
    assert 0 < (value("added_seconds_sum") or 0) < 1


def test_a_registry_that_fails_costs_numbers_only(
    registry: CollectorRegistry, meter: PrometheusMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No error of the registry reaches a request or the outbox; it is logged once."""
    recorder = MemoryRecorder(metrics=True)
    recorder.counters = Counters(meter)
    bench = Bench(answering(CHAT), recorder=recorder, identify=lambda scope: None)
    monkeypatch.setattr("prometheus_client.metrics.Histogram.observe", fail)
    monkeypatch.setattr("prometheus_client.metrics.Counter.inc", fail)

    with capture_logs() as logs:
        answers = [bench.post(PATH).status_code for _ in range(2)]

    assert [200, 200] == answers
    assert ["metrics_failed"] == [line["event"] for line in logs]
    assert {"no_user": 2} == bench.unrecorded


def fail(*_: object) -> None:
    raise OSError("no space left")


def test_metrics_without_prometheus_client_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error of a recorder that cannot count as configured names the extra to install."""
    monkeypatch.delitem(sys.modules, "usagepipe.producer.telemetry.metrics")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'usagepipe\[metrics\]'"):
        UsageRecorder(metrics=True)


def test_folder_that_cannot_be_written_is_reported_at_once(tmp_path: Path) -> None:
    """prometheus-client keeps the numbers of several processes in a folder: a wrong one is a wrong
    setting, refused when the recorder is created."""
    missing = tmp_path / "missing"
    program = "from usagepipe.producer import UsageRecorder; UsageRecorder(metrics=True)"

    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(missing)},
        capture_output=True,
        text=True,
        check=False,
    )

    reported = (
        f"SettingsError: USAGEPIPE_METRICS: PROMETHEUS_MULTIPROC_DIR cannot be written ({missing}"
    )
    assert reported in ended.stderr
    assert "SettingsError" in ended.stderr

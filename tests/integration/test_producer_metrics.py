"""Metrics of a web service of several workers, as Prometheus would collect them."""

from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from tests.integration.test_middleware_server import Gateway
from tests.support.programs import Programs
from tests.support.waiting import eventually


def test_workers_are_counted_together(
    run_program: Programs, kafka: str, topic: str, tmp_path: Path
) -> None:
    """Two workers of uvicorn: the sums of both are the events on the topic and their tokens."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    environment = {"USAGEPIPE_METRICS": "true", "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    gateway = Gateway(run_program, kafka, topic, "--workers", "2", environment=environment)

    for _ in range(20):
        gateway.client.get("/body/7").raise_for_status()
    gateway.client.get("/body/7", headers={"x-user": ""}).raise_for_status()
    eventually(lambda: registry.get_sample_value("usagepipe_events_delivered_total") == 20)
    queued = registry.get_sample_value("usagepipe_queue_events")
    gateway.end()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"usagepipe_{name}", labels)

    assert 0 == queued
    sent = {event.event_id for event in gateway.events()}  # twice is once
    assert 20 == len(sent) == value("events_recorded_total")
    assert 140 == value("tokens_total", model="m", kind="prompt")
    assert 1 == value("requests_unrecorded_total", endpoint="/body/7", reason="no_user")
    assert 21 <= (value("added_seconds_count") or 0)

"""The middleware in FastAPI under a real uvicorn, with a real Kafka."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest

from tests.support.programs import Program, Programs
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.local.ports import free_port
from usagepipe.schemas import UsageEvent, decode

ROOT = Path(__file__).parents[2]
ALICE = {"x-user": "u-alice"}


class Gateway:
    """A running uvicorn, and its events in Kafka."""

    def __init__(
        self,
        run_program: Programs,
        kafka: str,
        topic: str,
        *options: str,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.port = free_port()
        self._kafka, self._topic = kafka, topic
        self.program: Program = run_program(
            "tests.support.gateways.asgi:app",
            "--app-dir",
            str(ROOT),
            "--port",
            str(self.port),
            *options,
            program="uvicorn",
            environment={"USAGEPIPE_KAFKA": kafka, "USAGEPIPE_TOPIC": topic, **environment},
        )
        self.program.wait_for_output("Uvicorn running")
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=ALICE)
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            return self.client.get("/openapi.json").status_code == 200
        except httpx.TransportError:
            return False

    def events(self) -> list[UsageEvent]:
        records = read(self._kafka, self._topic)
        return [decode(record.value) for record in records]

    def end(self) -> None:
        """SIGTERM, as an orchestrator sends it."""
        self.client.close()
        self.program.stop()


@pytest.fixture
def gateway(run_program: Programs, kafka: str, topic: str) -> Iterator[Gateway]:
    gateway = Gateway(run_program, kafka, topic)
    yield gateway
    gateway.end()


KINDS = ["sync", "async", "body", "stream", "sync-stream", "background", "raises"]


def test_every_kind_of_handler_is_recorded_once(gateway: Gateway) -> None:
    """Handlers in threads, coroutines, streams and background tasks: one event each."""
    for number, kind in enumerate(KINDS, start=1):
        gateway.client.get(f"/{kind}/{number}")

    gateway.end()

    seen = {(e.endpoint, e.prompt_tokens, e.streaming, e.failed) for e in gateway.events()}
    streams = {"stream", "sync-stream"}
    expected = {
        (f"/{kind}/{number}", number, kind in streams, kind == "raises")
        for number, kind in enumerate(KINDS, start=1)
    }
    assert expected == seen


@pytest.mark.parametrize(
    "options",
    [(), ("--lifespan", "off"), ("--workers", "2")],
    ids=["one process", "no lifespan", "two workers"],
)
def test_sigterm_loses_nothing(
    options: tuple[str, ...], run_program: Programs, kafka: str, topic: str
) -> None:
    """SIGTERM right after the last of 100 answers: 100 events are in Kafka, and no gap.
    On a busy machine some are sent twice: they are one by their id."""
    gateway = Gateway(run_program, kafka, topic, *options)
    for number in range(100):
        gateway.client.get(f"/sync/{number}").raise_for_status()

    gateway.end()

    events = gateway.events()
    assert set(range(100)) == {event.prompt_tokens for event in events}
    assert 100 == len({event.event_id for event in events})
    for producer_id in {event.producer_id for event in events}:
        numbers = sorted({e.sequence or 0 for e in events if e.producer_id == producer_id})
        assert list(range(1, len(numbers) + 1)) == numbers


def test_shutdown_in_the_middle_of_a_stream_loses_nothing(
    run_program: Programs, kafka: str, topic: str
) -> None:
    """A server that is stopped cancels the streams that still run: their tokens so far are in
    Kafka when it has ended."""
    gateway = Gateway(run_program, kafka, topic, "--timeout-graceful-shutdown", "1")

    with gateway.client.stream("POST", "/endless/9") as answer:
        first = next(answer.iter_raw())
        gateway.program.stop()

    (event,) = gateway.events()
    assert b"data: 1\n\n" == first
    assert (10, "partial", False) == (event.total_tokens, event.usage_quality, event.failed)

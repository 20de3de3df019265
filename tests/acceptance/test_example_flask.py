"""The example in `examples/flask_gateway.py` under gunicorn, run as its own text says."""

import http.client
import json
from collections import Counter

import pytest

from tests.support.installs import ROOT
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.programs import Program, Programs
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.schemas import UsageEvent, decode

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "how are you"}]


class Gateway:
    """gunicorn with the example, and its events in Kafka."""

    def __init__(self, run_program: Programs, kafka: str, topic: str, *options: str) -> None:
        self.port = lasting_port()
        self._kafka, self._topic = kafka, topic
        self.program: Program = run_program(
            *("--chdir", str(ROOT / "examples"), "--bind", f"{HOST}:{self.port}"),
            *("--workers", "2", "--log-level", "warning", *options, "flask_gateway:app"),
            program="gunicorn",
            environment={"USAGEPIPE_KAFKA": kafka, "USAGEPIPE_TOPIC": topic},
        )
        eventually(lambda: is_answered(self.port), 60, self.program.tail)

    def ask(self, key: str = "sk-ada", **body: object) -> tuple[int, bytes]:
        """POST; status and body of the answer."""
        client = http.client.HTTPConnection(HOST, self.port, timeout=30)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        client.request("POST", PATH, json.dumps({"model": "small"} | body), headers)
        answer = client.getresponse()
        content = answer.read()
        client.close()
        return answer.status, content

    def events(self) -> list[UsageEvent]:
        """Ask the program to end (SIGTERM), then read its events."""
        self.program.stop()
        return [decode(record.value) for record in read(self._kafka, self._topic)]


@pytest.fixture(params=["sync", "threads", "preload"])
def gateway(
    request: pytest.FixtureRequest, run_program: Programs, kafka: str, topic: str
) -> Gateway:
    options = {"sync": (), "threads": ("--threads", "4"), "preload": ("--preload",)}
    return Gateway(run_program, kafka, topic, *options[request.param])


def test_every_request_becomes_one_event(gateway: Gateway) -> None:
    """Answers, streams, refused bodies and unknown keys on two workers: one event for each that
    a known key sent, with no gap, delivered before the workers end."""
    statuses = [gateway.ask(messages=MESSAGES)[0] for _ in range(20)]
    streams = [gateway.ask("sk-bob", messages=MESSAGES, stream=True)[1] for _ in range(20)]
    refused = gateway.ask()[0]  # no messages: the example fails
    gateway.ask("sk-nobody", messages=MESSAGES)

    events = gateway.events()

    assert [200] * 20 == statuses
    assert all(stream.endswith(b"data: [DONE]\n\n") for stream in streams)
    assert 500 == refused
    assert Counter(
        {
            ("u-ada", "small", 6, "complete", False, False): 20,
            ("u-bob", "small", 6, "complete", True, False): 20,
            ("u-ada", "small", 0, "missing", False, True): 1,
        }
    ) == Counter(_facts(event) for event in events)
    assert {"apikey"} == {event.source for event in events}
    assert {"small"} == {event.requested_model for event in events}
    for producer_id in {event.producer_id for event in events}:
        numbers = sorted(e.sequence or 0 for e in events if e.producer_id == producer_id)
        assert list(range(1, len(numbers) + 1)) == numbers


def _facts(event: UsageEvent) -> tuple[str, str, int, str, bool, bool]:
    quality, streaming = event.usage_quality, event.streaming
    return event.user_id, event.model, event.total_tokens, quality, streaming, event.failed

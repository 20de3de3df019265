"""The example in `examples/gateway.py`, run as its own text says."""

import json
import urllib.request

from tests.support.installs import ROOT
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.programs import Programs
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.schemas import UsageEvent, decode


def _ask(port: int, headers: dict[str, str]) -> int:
    body = {"model": "small", "messages": [{"role": "user", "content": "how are you"}]}
    request = urllib.request.Request(
        f"http://{HOST}:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"} | headers,
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


def test_a_request_becomes_an_event_with_its_tokens(
    kafka: str, topic: str, run_program: Programs
) -> None:
    """A request with a known caller is one event; one without is answered all the same."""
    port = lasting_port()
    gateway = run_program(
        *("--app-dir", str(ROOT / "examples"), "gateway:app", "--port", str(port)),
        program="uvicorn",
        environment={"USAGEPIPE_KAFKA": kafka, "USAGEPIPE_TOPIC": topic},
    )
    eventually(lambda: is_answered(port), 60, gateway.tail)

    statuses = [_ask(port, {"X-User": "ada"}), _ask(port, {})]
    gateway.stop()

    assert [200, 200] == statuses
    (event,) = (decode(record.value) for record in read(kafka, topic))
    assert ("ada", "small", 3, 2, 5) == _facts(event)


def _facts(event: UsageEvent) -> tuple[str, str, int, int, int]:
    tokens = (event.prompt_tokens, event.completion_tokens, event.total_tokens)
    return event.user_id, event.model, *tokens

"""The WSGI middleware under a real gunicorn, with a real Kafka behind it."""

import http.client

import pytest

from tests.support.installs import ROOT
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.programs import Programs
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.schemas import decode


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_client_that_leaves_a_stream_is_a_partial_event(
    worker: str, run_program: Programs, kafka: str, topic: str
) -> None:
    """The client closes the connection in the middle of an endless stream: gunicorn closes the
    answer, and the tokens so far are an event that did not fail."""
    port = lasting_port()
    gateway = run_program(
        *("--chdir", str(ROOT), "--bind", f"{HOST}:{port}", "--worker-class", worker),
        "tests.integration.wsgi_gateway:app",
        program="gunicorn",
        environment={"USAGEPIPE_KAFKA": kafka, "USAGEPIPE_TOPIC": topic},
    )
    eventually(lambda: is_answered(port), 60, gateway.tail)
    client = http.client.HTTPConnection(HOST, port, timeout=30)
    client.request("POST", "/v1/chat")
    first = client.getresponse().read(9)

    client.close()

    (record,) = eventually(lambda: read(kafka, topic), 30, "the event")
    event = decode(record.value)
    assert b"data: 1\n\n" == first
    assert ("partial", False, True, 200) == (
        event.usage_quality,
        event.failed,
        event.streaming,
        event.status_code,
    )
    assert 9 + 1 < event.total_tokens == 9 + event.completion_tokens

"""The WSGI middleware under real servers: gunicorn with a Kafka, and the library's."""

import http.client
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from tests.support.installs import ROOT
from tests.support.loopback import raw_answer, serving_wsgi
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.programs import Programs
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.producer import Caller, UsageWsgiMiddleware
from usagepipe.producer.testing import MemoryRecorder
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
        "tests.support.gateways.wsgi:app",
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


def one_chunk(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"usage": {"prompt_tokens": 3}}']


def many_chunks(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    yield b"["
    yield b""
    yield b"1]" * 50_000


def by_write(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])(b"{")
    return [b"}"]


def no_content(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def not_modified(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("304 Not Modified", [("ETag", '"1"')])
    return ()


APPLICATIONS = [one_chunk, many_chunks, by_write, no_content, not_modified]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("app", APPLICATIONS, ids=lambda app: app.__name__)
def test_every_byte_is_as_without_the_middleware(method: str, app: WSGIApplication) -> None:
    """Status line, headers (a Content-Length that the server makes, too) and body are the same
    bytes with and without the middleware."""
    recorder = MemoryRecorder()
    wrapped = UsageWsgiMiddleware(app, recorder=recorder, identify=lambda environ: Caller("u"))

    with serving_wsgi(app) as bare, serving_wsgi(wrapped) as watched:
        expected, seen = raw_answer(bare, method), raw_answer(watched, method)

    assert expected == seen
    assert expected.startswith(b"HTTP/1.0 ")
    assert 1 == len(recorder.events) or recorder.counters.unrecorded

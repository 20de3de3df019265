"""The WSGI middleware: the events that it makes of requests, and what it does not watch."""

import json
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from tests.support.watched import ALICE, CHAT
from tests.support.wsgi_server import Server, answering, facts
from usagepipe.producer import Caller, UsageWsgiMiddleware, stamp_usage
from usagepipe.producer.testing import MemoryRecorder


def test_json_body_makes_the_event() -> None:
    """T-02: the usage of a JSON body counts, and its bytes pass as they are."""
    server = Server(answering(CHAT))

    body = server.ask(HTTP_X_CORRELATION_ID="c-1", HTTP_X_STAINLESS_RETRY_COUNT="1")

    event = server.event
    assert json.dumps(CHAT).encode() == body
    assert ("qwen-7b", 31, 7, 38) == (
        event.model,
        event.prompt_tokens,
        event.completion_tokens,
        event.total_tokens,
    )
    assert ("u-alice", "c-1", 2) == (event.user_id, event.request_id, event.attempt)


def test_handlers_stamp_counts() -> None:
    """T-01: what a handler stamps while it runs is the event's."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        stamp_usage("qwen-7b", 9)
        stamp_usage(completion_tokens=5, scope=environ)
        return answering({})(environ, start_response)

    server = Server(app)

    server.ask()

    assert (200, False, "complete", 14) == facts(server)


def test_failed_request_without_tokens_is_one_failed_event() -> None:
    """T-39: 429 and no tokens is one failed event of zero tokens."""
    server = Server(answering({"error": {}}, "429 Too Many Requests"))

    server.ask()

    assert (429, True, "missing", 0) == facts(server)
    assert {"failed": 1} == server.unrecorded


def test_raising_application_is_failed_and_its_error_goes_on() -> None:
    """The server makes a 500 of it; the event says so already."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise KeyError("the application's own")

    server = Server(app)

    with pytest.raises(KeyError, match="the application's own"):
        server.ask()

    assert (500, True, "missing", 0) == facts(server)


HOWS = ["read", "read(size)", "readline", "readlines", "iter"]  # of PEP 3333


@pytest.mark.parametrize("how", [*HOWS, "readinto"])
def test_requested_model_is_what_the_body_asked_for(how: str) -> None:
    """T-05: however the application reads its body, the model in it is the requested one, and
    the application gets every byte."""
    sent = b'{"model":\n"auto",\n"stream": false}'
    got: list[bytes] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        match how:
            case "read":
                got.append(body.read(len(sent)))
            case "read(size)":
                got.extend(iter(lambda: body.read(4), b""))
            case "readline":
                got.extend(iter(body.readline, b""))
            case "readlines":
                got.extend(body.readlines())
            case "iter":
                got.extend(body)
            case "readinto":
                buffer = bytearray(4)
                while size := body.readinto(buffer):
                    got.append(bytes(buffer[:size]))
        return answering(CHAT)(environ, start_response)

    server = Server(app, strict=how in HOWS)

    server.ask(body=sent)

    assert sent == b"".join(got)
    assert ("auto", "qwen-7b") == (server.event.requested_model, server.event.model)


def test_what_else_a_servers_input_can_is_kept() -> None:
    """Servers give more than PEP 3333 asks for; the application still has it."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert environ["wsgi.input"].seekable()
        return answering(CHAT)(environ, start_response)

    server = Server(app, strict=False)

    server.ask()

    assert 38 == server.event.total_tokens


def test_unknown_caller_is_counted() -> None:
    """T-06: where identify knows nobody there is no event, and `no_user` is counted."""
    server = Server(answering(CHAT), identify=lambda environ: None)

    server.ask()

    assert [] == server.recorder.events
    assert {"no_user": 1} == server.unrecorded


def test_async_identify_is_refused() -> None:
    """Nothing awaits under WSGI: an async function is refused at the start, and an awaitable
    that comes all the same is counted, with the answer untouched."""

    async def identify(environ: WSGIEnvironment) -> Caller:
        return ALICE

    with pytest.raises(TypeError, match="cannot be awaited here"):
        Server(answering(CHAT), identify=identify)
    server = Server(answering(CHAT), identify=lambda environ: identify(environ))

    assert json.dumps(CHAT).encode() == server.ask()
    assert {"identify_failed": 1} == server.unrecorded


def test_path_is_whole_and_in_any_script() -> None:
    """The endpoint has the part that the application is mounted at, decoded from PEP 3333."""
    server = Server(answering(CHAT))

    server.ask("/chat/ä".encode().decode("latin-1"), SCRIPT_NAME="/v1")

    assert "/v1/chat/ä" == server.event.endpoint


def test_mounted_twice_counts_once() -> None:
    """The middleware inside the middleware leaves the request to the outer one."""
    recorder = MemoryRecorder()
    inner = UsageWsgiMiddleware(answering(CHAT), recorder=recorder, identify=lambda environ: ALICE)
    server = Server(inner, recorder=recorder)

    server.ask()

    assert 38 == server.event.total_tokens


def test_skipped_path_and_disabled_recorder_pass_through() -> None:
    """What is not watched gets the application's own answer, unwrapped."""
    answer: Iterable[bytes] = [b"x"]
    app: WSGIApplication = lambda environ, start_response: answer  # noqa: E731
    environ: WSGIEnvironment = {"REQUEST_METHOD": "GET", "PATH_INFO": "/health"}

    skipping = Server(app, strict=False, skip=("/health",))
    disabled = Server(app, strict=False, recorder=MemoryRecorder(enabled=False))

    assert answer is skipping.app(environ, skipping.start_response)
    assert answer is disabled.app(environ, disabled.start_response)
    assert {} == skipping.unrecorded | disabled.unrecorded

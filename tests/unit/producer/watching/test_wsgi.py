"""The WSGI middleware between a server and an application that PEP 3333's own checker watches."""

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from tests.support.watched import ALICE, CHAT
from usagepipe.producer import Caller, UsageWsgiMiddleware, stamp_usage
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.schemas.event import UsageEvent

JSON = [("Content-Type", "application/json")]
STREAM = [("Content-Type", "text/event-stream")]


class Server:
    """A WSGI server in one call: no chunk is asked for before the last one was taken."""

    def __init__(self, app: WSGIApplication, *, strict: bool = True, **options: Any) -> None:
        self.recorder = options.pop("recorder", None) or MemoryRecorder()
        identify = options.pop("identify", lambda environ: ALICE)
        inner = validator(app) if strict else app
        watched = UsageWsgiMiddleware(inner, recorder=self.recorder, identify=identify, **options)
        self.app = validator(watched) if strict else watched
        self.status = ""
        self.body = b""

    def ask(
        self,
        path: str = "/v1/chat/completions",
        body: bytes = b"{}",
        chunks: int | None = None,
        **variables: str,
    ) -> bytes:
        """POST and read the answer; with `chunks` the client leaves after so many."""
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "wsgi.file_wrapper": FileWrapper,
        } | variables
        setup_testing_defaults(environ)
        answer = self.app(environ, self._start_response)
        try:
            for number, chunk in enumerate(answer, start=1):
                self.body += chunk
                if number == chunks:
                    break
        finally:
            if (close := getattr(answer, "close", None)) is not None:
                close()
        return self.body

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], None]:
        self.status = status
        return self._write

    def _write(self, chunk: bytes) -> None:
        self.body += chunk

    @property
    def event(self) -> UsageEvent:
        (event,) = self.recorder.events
        return event

    @property
    def unrecorded(self) -> dict[str, int]:
        counted = self.recorder.counters.unrecorded.values()
        return {reason: n for reasons in counted for reason, n in reasons.items()}


def answering(
    body: object, status: str = "200 OK", headers: list[tuple[str, str]] | None = None
) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, JSON if headers is None else headers)
        return [body if isinstance(body, bytes) else json.dumps(body).encode()]

    return app


def streaming(chunks: Iterable[bytes]) -> WSGIApplication:
    """A generator that begins its answer with the first chunk, and stamps as it goes."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", STREAM)
        for number, chunk in enumerate(chunks, start=1):
            stamp_usage("m", 9, number)
            yield chunk

    return app


def facts(server: Server) -> tuple[int, bool, str, int]:
    event = server.event
    return event.status_code, event.failed, event.usage_quality, event.total_tokens


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


def test_stream_may_stamp_and_reaches_the_client_chunk_by_chunk() -> None:
    """A generator stamps between its chunks; none waits for the next."""
    made: list[int] = []
    server = Server(streaming(noting(made, 5)))

    server.ask(chunks=3)

    assert [0, 1, 2] == made
    assert b"data: 0\n\ndata: 1\n\ndata: 2\n\n" == server.body


def noting(made: list[int], chunks: int) -> Iterator[bytes]:
    for number in range(chunks):
        made.append(number)
        yield f"data: {number}\n\n".encode()


def test_complete_stream_is_complete() -> None:
    """All chunks were taken: what was stamped last is the whole."""
    server = Server(streaming(noting([], 5)))

    server.ask()

    assert (200, False, "complete", 14) == facts(server)
    assert server.event.ttft_ms is not None


def test_client_that_leaves_a_stream_is_a_cancelled_event() -> None:
    """The server closes before the last chunk: what was seen so far counts, as partial."""
    closed: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        try:
            yield from streaming(noting([], 5))(environ, start_response)
        finally:
            closed.append("closed")

    server = Server(app)

    server.ask(chunks=2)

    assert (200, False, "partial", 11) == facts(server)
    assert ["closed"] == closed


def test_stamp_of_one_request_is_not_seen_outside() -> None:
    """Between the chunks of a stream and after it nothing is left to stamp."""
    server = Server(streaming(noting([], 2)), strict=False)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/x",
        "wsgi.input": io.BytesIO(),
    }

    seen = [stamp_usage("m") for _ in server.app(environ, server._start_response)]

    assert [False, False, False] == [*seen, stamp_usage("m")]


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


def test_raise_in_the_middle_of_a_stream_is_a_failure() -> None:
    """The answer was broken off by the application, not by the client."""

    def chunks() -> Iterator[bytes]:
        yield b"data: 0\n\n"
        raise RuntimeError("the model is gone")

    server = Server(streaming(chunks()))

    with pytest.raises(RuntimeError, match="the model is gone"):
        server.ask()

    assert (200, True, "partial", 10) == facts(server)


def test_error_page_replaces_what_was_begun() -> None:
    """`start_response` called once more with `exc_info`: the second status is the request's."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", JSON)
        try:
            raise RuntimeError
        except RuntimeError:
            start_response("500 Oops", JSON, sys.exc_info())
        return [b"{}"]

    server = Server(app)

    server.ask()

    assert (500, True, "missing", 0) == facts(server)


def test_write_is_read_too() -> None:
    """Old applications write their body by the callable that `start_response` gives."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", JSON)
        write(json.dumps(CHAT).encode())
        return []

    server = Server(app)

    assert json.dumps(CHAT).encode() == server.ask()
    assert (200, False, "complete", 38) == facts(server)


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


def test_file_of_the_servers_own_wrapper_is_left_to_it() -> None:
    """A server that can send files faster still sees its wrapper; the request is counted."""
    file = FileWrapper(io.BytesIO(b"<html>"))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return file

    server = Server(app, strict=False)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "wsgi.file_wrapper": FileWrapper,
    }

    assert file is server.app(environ, server._start_response)
    assert {"no_usage": 1} == server.unrecorded


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


@pytest.mark.parametrize("kind", ["generator", "joined"])
def test_answer_that_nobody_closes_counts(kind: str) -> None:
    """Middlewares that forget PEP 3333's `close` lose no event."""
    recorder = MemoryRecorder()
    watched = UsageWsgiMiddleware(
        answering(CHAT), recorder=recorder, identify=lambda environ: ALICE
    )

    def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if kind == "joined":
            return [b"".join(watched(environ, start_response))]
        return (chunk for chunk in watched(environ, start_response))

    environ: WSGIEnvironment = {"REQUEST_METHOD": "POST", "PATH_INFO": "/v1/chat/completions"}
    setup_testing_defaults(environ)
    body = b"".join(outer(environ, lambda status, headers, exc_info=None, /: lambda chunk: None))

    assert CHAT == json.loads(body)
    assert [38] == [event.total_tokens for event in recorder.events]


def test_client_that_leaves_a_write_is_a_cancelled_event() -> None:
    """`write` to a client that has gone raises what the server makes of it: no failure of ours."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", STREAM)
        stamp_usage("m", 9, 1)
        write(b"data: 1\n\n")
        return []

    server = Server(app, strict=False)
    server._write = _gone  # type: ignore[method-assign]

    with pytest.raises(BrokenPipeError):
        server.ask()

    assert (200, False, "partial", 10) == facts(server)


def _gone(chunk: bytes) -> None:
    raise BrokenPipeError


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

    assert answer is skipping.app(environ, skipping._start_response)
    assert answer is disabled.app(environ, disabled._start_response)
    assert {} == skipping.unrecorded | disabled.unrecorded

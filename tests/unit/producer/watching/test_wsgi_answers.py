"""The answers of WSGI applications: lists, generators, `write` and files, and how each ends."""

import io
import json
import sys
from collections.abc import Iterable, Iterator
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from tests.support.watched import ALICE, CHAT
from tests.support.wsgi_server import JSON, STREAM, Server, answering, facts, streaming
from usagepipe.producer import UsageWsgiMiddleware, stamp_usage
from usagepipe.producer.testing import MemoryRecorder


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

    seen = [stamp_usage("m") for _ in server.app(environ, server.start_response)]

    assert [False, False, False] == [*seen, stamp_usage("m")]


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

    assert file is server.app(environ, server.start_response)
    assert {"no_usage": 1} == server.unrecorded


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
    server.write = _gone

    with pytest.raises(BrokenPipeError):
        server.ask()

    assert (200, False, "partial", 10) == facts(server)


def _gone(chunk: bytes) -> None:
    raise BrokenPipeError

"""Answers pass through the middleware on a real uvicorn as they would without it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.sync.client import connect

from tests.support.loopback import SECONDS, connection, raw_answer, request_bytes, serving
from tests.support.waiting import eventually
from usagepipe.producer import Caller, UsageMiddleware, stamp_usage
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import Scope

CHAT = {"model": "m-1", "usage": {"prompt_tokens": 31, "completion_tokens": 7}}
METHODS = ["GET", "POST", "HEAD"]
Handler = Callable[[Request], object]


class Watched:
    """A Starlette application with one handler at every path, under the middleware."""

    def __init__(self, handler: Handler, *outer: Middleware) -> None:
        self.recorder = MemoryRecorder()
        watching = Middleware(
            UsageMiddleware,
            recorder=self.recorder,
            identify=identify,
        )
        self.app = starlette(handler, *outer, watching)

    @property
    def facts(self) -> tuple[int, bool, str, int]:
        (event,) = eventually(lambda: self.recorder.events, SECONDS, "an event")
        return event.status_code, event.failed, event.usage_quality, event.total_tokens


async def identify(scope: Scope) -> Caller:
    """Takes its time, as a look-up in a database does."""
    await asyncio.sleep(0.01)
    return Caller("u")


def starlette(handler: Handler, *middleware: Middleware) -> Starlette:
    routes = [Route("/{path:path}", handler, methods=METHODS)]
    return Starlette(routes=routes, middleware=middleware)


def sse(chunks: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(chunks, media_type="text/event-stream")


def test_each_chunk_reaches_the_client_before_the_next_is_made() -> None:
    """The application makes a chunk only when the client has the one before: a middleware that
    holds any back would wait for ever."""
    received = threading.Semaphore(1)

    async def handler(request: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            for number in range(50):
                assert await asyncio.to_thread(received.acquire, timeout=SECONDS)
                yield f"data: {number}\n\n".encode()
            stamp_usage("m", 9, 5)

        return sse(chunks())

    watched = Watched(handler)
    seen = []
    with serving(watched.app) as url, httpx.stream("POST", url, timeout=SECONDS) as answer:
        for chunk in answer.iter_raw():
            seen.append(chunk)
            received.release()

    assert [f"data: {number}\n\n".encode() for number in range(50)] == seen
    assert (200, False, "complete", 14) == watched.facts


async def through(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """A middleware that runs what is inside of it as a task, and cancels it for good."""
    return await call_next(request)


@pytest.mark.parametrize(
    "outer", [(), (Middleware(BaseHTTPMiddleware, dispatch=through),)], ids=["alone", "inside"]
)
def test_client_that_leaves_a_stream_is_a_cancelled_event(outer: tuple[Middleware, ...]) -> None:
    """The client closes the connection in the middle: the usage until then is a partial event,
    and the application is stopped as it would be without us."""
    stopped = threading.Event()

    async def handler(request: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                stamp_usage("m", 9, 5)
                yield b"data: 1\n\n"
                await asyncio.sleep(60)
            finally:
                stopped.set()

        return sse(chunks())

    watched = Watched(handler, *outer)
    with serving(watched.app) as url:
        with httpx.stream("POST", url) as answer:
            assert b"data: 1\n\n" == next(answer.iter_raw())

        assert (200, False, "partial", 14) == watched.facts
        assert stopped.wait(SECONDS)


def test_client_that_does_not_wait_for_an_answer_is_a_cancelled_event() -> None:
    """The client gives up before the answer begins; the handler asks and sees it."""
    entered = threading.Event()

    async def handler(request: Request) -> Response:
        entered.set()
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        raise RuntimeError("nobody is there")

    watched = Watched(handler)
    with serving(watched.app) as url:
        with connection(url) as client:
            client.sendall(request_bytes("POST"))
            assert entered.wait(SECONDS)

        assert (0, False, "missing", 0) == watched.facts


def test_background_task_delays_no_byte_and_may_stamp() -> None:
    """The client has the whole answer while the task still runs; its stamp counts."""
    read, events_then = threading.Event(), []

    async def handler(request: Request) -> JSONResponse:
        async def task() -> None:
            assert await asyncio.to_thread(read.wait, SECONDS)
            stamp_usage("m", 9, 5)

        return JSONResponse({"id": 1}, background=BackgroundTask(task))

    watched = Watched(handler)
    with serving(watched.app) as url:
        answer = httpx.post(url, timeout=SECONDS)
        events_then.extend(watched.recorder.events)
        read.set()

        assert (200, False, "complete", 14) == watched.facts
    assert ({"id": 1}, []) == (answer.json(), events_then)


def test_broken_stream_stays_broken() -> None:
    """An application that raises in the middle breaks the connection; the event failed."""

    async def handler(request: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            raise RuntimeError("the model is gone")

        return sse(chunks())

    watched = Watched(handler)
    with serving(watched.app) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(url)

        assert (200, True, "missing", 0) == watched.facts


def test_stream_under_another_middleware_is_complete() -> None:
    """A middleware around ours that passes messages on by a task of its own changes nothing."""

    async def handler(request: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            for number in range(20):
                yield f"data: {number}\n\n".encode()
            stamp_usage("m", 9, 5)

        return sse(chunks())

    watched = Watched(handler, Middleware(BaseHTTPMiddleware, dispatch=through))
    with serving(watched.app) as url:
        httpx.post(url)

        assert (200, False, "complete", 14) == watched.facts


def no_content(request: Request) -> Response:
    return Response(status_code=204)


def not_modified(request: Request) -> Response:
    return Response(status_code=304, headers={"etag": '"1"'})


def json(request: Request) -> Response:
    return JSONResponse(CHAT, headers={"x-a": "1"})


def empty(request: Request) -> Response:
    return Response()


def chunked(request: Request) -> Response:
    return StreamingResponse(iter([b"a", b"", b"bc" * 50_000]), media_type="audio/mpeg")


def failing(request: Request) -> Response:
    raise RuntimeError("the application's own")


HANDLERS = [no_content, not_modified, json, empty, chunked, failing]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
def test_every_byte_is_as_without_the_middleware(method: str, handler: Handler) -> None:
    """Status line, headers and body of HEAD, 204, 304, errors, chunks and plain answers are the
    same bytes with and without the middleware."""
    with serving(starlette(handler)) as bare, serving(Watched(handler).app) as watched:
        expected, seen = raw_answer(bare, method), raw_answer(watched, method)

    assert expected == seen
    assert expected.startswith(b"HTTP/1.1 ")


def test_usage_of_a_real_answer_is_recorded() -> None:
    """T-02: what passes unchanged is read as it passes."""
    watched = Watched(json)
    with serving(watched.app) as url:
        httpx.post(url)

        assert (200, False, "complete", 38) == watched.facts


@pytest.fixture
def echo() -> Iterator[tuple[str, MemoryRecorder]]:
    async def socket_echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text() + "!")
        await websocket.close()

    recorder = MemoryRecorder()
    app = UsageMiddleware(
        Starlette(routes=[WebSocketRoute("/socket", socket_echo)]),
        recorder=recorder,
        identify=lambda scope: Caller("u"),
    )
    with serving(app, ws="websockets-sansio") as url:
        yield url, recorder


def test_websocket_passes_through(echo: tuple[str, MemoryRecorder]) -> None:
    """A websocket is neither looked at nor counted."""
    url, recorder = echo

    with connect(f"{url.replace('http', 'ws')}/socket", proxy=None) as websocket:
        websocket.send("hello")
        heard = websocket.recv(SECONDS)

    assert "hello!" == heard
    assert ([], {}) == (recorder.events, recorder.counters.unrecorded)

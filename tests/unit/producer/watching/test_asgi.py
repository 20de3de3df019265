"""The middleware as a part of ASGI: it passes messages on, and sees how a request ends."""

import asyncio
import json
import threading

import httpx
import pytest

from tests.support.watched import (
    ALICE,
    CHAT,
    PATH,
    Bench,
    answering,
    failing,
    nothing,
    run,
    swallow,
)
from usagepipe.producer import UsageMiddleware, stamp_usage
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import Message, Receive, Scope, Send


def test_headers_that_can_be_read_once_are_read() -> None:
    """An answer's headers may be an iterator (ASGI): server and middleware both see them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = iter([(b"content-type", b"application/json")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(CHAT).encode()})

    bench = Bench(app)

    assert "application/json" == bench.get().headers["content-type"]
    assert (31, 7, 38) == bench.tokens


def test_raising_application_is_failed_and_its_error_goes_on() -> None:
    """The application's own exception passes unchanged; tokens stamped before it are recorded."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage("m", 9, 5)
        raise KeyError("the application's own")

    bench = Bench(app)

    with pytest.raises(KeyError, match="the application's own"):
        asyncio.run(bench.app({"type": "http", "path": "/x", "headers": []}, nothing, swallow))

    assert (True, 500) == (bench.event.failed, bench.event.status_code)


def test_cancelled_request_keeps_what_was_stamped() -> None:
    """A request whose client goes away is cancelled; its stamped tokens are recorded."""
    entered = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage("m", 9, 5)
        entered.set()
        await asyncio.sleep(60)

    bench = Bench(app)

    async def main() -> None:
        scope = {"type": "http", "path": "/x", "headers": []}
        task = asyncio.create_task(run(bench.app, scope))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert (9, 5, 14) == bench.tokens


def test_each_chunk_is_sent_on_before_it_is_looked_at() -> None:
    """No byte is delayed: the same message objects pass, one by one, in order."""
    raw = json.dumps(CHAT).encode()
    chunks: list[Message] = [
        {"type": "http.response.body", "body": raw[i : i + 1], "more_body": True}
        for i in range(len(raw))
    ]
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number, chunk in enumerate(chunks, start=2):
            await send(chunk)
            assert number == len(sent)
        await send({"type": "http.response.body"})

    bench = Bench(app)

    asyncio.run(run(bench.app, {"type": "http", "path": "/x"}, sent))

    assert all(a is b for a, b in zip(chunks, sent[1:-1], strict=True))
    assert (31, 7, 38) == bench.tokens


def test_client_that_has_gone_is_counted_all_the_same() -> None:
    """Where sending fails, the tokens were used: the chunk that could not be sent still counts."""

    async def gone(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the client has gone")

    bench = Bench(answering(CHAT))

    with pytest.raises(OSError, match="the client has gone"):
        asyncio.run(bench.app({"type": "http", "path": "/x", "headers": []}, nothing, gone))

    assert (31, 7, 38) == bench.tokens


@pytest.mark.parametrize("kind", ["websocket", "something.new"])
def test_other_protocols_pass_through(kind: str) -> None:
    """A websocket reaches the application with the very same callables."""
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([scope, receive, send])

    bench = Bench(app)
    scope: Scope = {"type": kind}

    asyncio.run(bench.app(scope, nothing, swallow))

    assert [{"type": kind}, nothing, swallow] == seen
    assert {} == bench.unrecorded


def test_disabled_recorder_makes_the_middleware_transparent() -> None:
    """With `enabled=False` nothing is looked at and nothing is counted."""
    bench = Bench(answering(CHAT), recorder=MemoryRecorder(enabled=False), identify=failing)

    bench.get()

    assert [] == bench.recorder.events
    assert {} == bench.unrecorded


def test_mounted_twice_counts_once() -> None:
    """The middleware inside the middleware leaves the request to the outer one."""
    recorder = MemoryRecorder()
    inner = UsageMiddleware(answering(CHAT), recorder=recorder, identify=lambda scope: ALICE)
    bench = Bench(inner, recorder=recorder)

    bench.get()

    assert (31, 7, 38) == bench.tokens


def test_application_inside_of_another_counts_once() -> None:
    """An application that another one calls, with a scope of its own, is a part of its request."""
    recorder = MemoryRecorder()
    inner = UsageMiddleware(answering(CHAT), recorder=recorder, identify=lambda scope: ALICE)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await inner({**scope, "path": "/inner"}, receive, send)

    async def again(scope: Scope, receive: Receive, send: Send) -> None:
        transport = httpx.ASGITransport(inner)
        async with httpx.AsyncClient(transport=transport, base_url="http://inner") as client:
            answer = await client.post("/inner")
        await answering(answer.json())(scope, receive, send)

    for app in (outer, again):
        Bench(app, recorder=recorder).get()

    assert [PATH, PATH] == [event.endpoint for event in recorder.events]


def test_second_try_with_the_same_scope_counts_too() -> None:
    """An outer middleware may call the application again after a failure: both are requests."""
    recorder = MemoryRecorder()
    fails = [True, False]

    async def unsteady(scope: Scope, receive: Receive, send: Send) -> None:
        if fails.pop(0):
            raise ConnectionError
        await answering(CHAT)(scope, receive, send)

    watched = UsageMiddleware(unsteady, recorder=recorder, identify=lambda scope: ALICE)

    async def again(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await watched(scope, receive, send)
        except ConnectionError:
            await watched(scope, receive, send)

    async def ask() -> None:
        transport = httpx.ASGITransport(again)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await client.post(PATH)

    asyncio.run(ask())

    assert [(True, 0), (False, 38)] == [(e.failed, e.total_tokens) for e in recorder.events]


def test_lifespan_shutdown_delivers_first() -> None:
    """When the server shuts down, the recorder is stopped before shutdown is reported complete."""
    steps: list[str] = []

    class Noting(MemoryRecorder):
        def start(self) -> None:
            steps.append("start")

        def stop(self) -> int:
            steps.append("stop" if threading.current_thread() is not _main else "blocked")
            return 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def note(message: Message) -> None:
        steps.append(message["type"])

    _main = threading.current_thread()
    bench = Bench(app, recorder=Noting())

    asyncio.run(bench.app({"type": "lifespan"}, nothing, note))

    expected = ["start", "lifespan.startup.complete", "stop", "lifespan.shutdown.complete"]
    assert expected == steps


def test_application_that_never_answers_is_failed() -> None:
    """A server answers 500 for an application that returns without an answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage("m", 1, 1)

    bench = Bench(app)

    asyncio.run(run(bench.app, {"type": "http", "path": "/x"}))

    assert (True, 500) == (bench.event.failed, bench.event.status_code)

"""Requests that do not come to their proper end: the client left, or the application raised."""

import asyncio

import anyio
import pytest

from tests.support.watched import (
    CHAT,
    Bench,
    answering,
    endless,
    facts,
    leave,
    nothing,
    post,
    run,
    swallow,
)
from usagepipe.producer import Caller, stamp_usage
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import Message, Receive, Scope, Send


def test_client_that_leaves_a_stream_is_a_cancelled_event() -> None:
    """A stream that its client left has the status that was sent, and did not fail."""
    bench = Bench(endless())

    leave(bench)

    assert (200, False, "missing", 0) == facts(bench)
    assert {"cancelled": 1} == bench.unrecorded


def test_what_was_stamped_before_the_client_left_is_partial() -> None:
    """Tokens stamped before the end of an abandoned stream may not be all: the event says so."""
    bench = Bench(endless(stamp=True))

    leave(bench)

    assert (200, False, "partial", 14) == facts(bench)
    assert {} == bench.unrecorded


def test_stamp_may_say_that_it_is_complete_all_the_same() -> None:
    """A handler that knows the final count of a stream that was left is believed."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage("m", 9, 5, usage_quality="complete")
        await endless()(scope, receive, send)

    bench = Bench(app)

    leave(bench)

    assert (200, False, "complete", 14) == facts(bench)


def test_client_that_waits_for_no_answer_has_no_status() -> None:
    """Where the client leaves before the answer begins no status was sent: it is 0."""
    bench = Bench(endless(begun=False))

    leave(bench)

    assert (0, False, "missing", 0) == facts(bench)


def test_cancelled_task_is_a_cancelled_request() -> None:
    """Some servers cancel the task of a request whose client has left."""
    entered = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        entered.set()
        await asyncio.sleep(60)

    bench = Bench(app)

    async def main() -> None:
        task = asyncio.create_task(run(bench.app, post()))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert {"cancelled": 1} == bench.unrecorded
    assert (200, False, "missing", 0) == facts(bench)


def test_async_identify_of_a_cancelled_request_is_heard_out() -> None:
    """The look-up of the caller goes on when the request is cancelled meanwhile: its tokens
    were used."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def identify(scope: Scope) -> Caller:
        asked.set()
        await answer.wait()
        return Caller("u-late")

    bench = Bench(answering(CHAT), identify=identify)

    async def main() -> None:
        task = asyncio.create_task(run(bench.app, post()))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        answer.set()
        while not bench.recorder.events:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 10))

    assert ("u-late", 38) == (bench.event.user_id, bench.event.total_tokens)


def test_async_identify_is_heard_out_where_every_await_is_cancelled() -> None:
    """In a cancelled scope of anyio (Starlette's task groups) each await is cancelled again, also
    that for the caller."""

    async def identify(scope: Scope) -> Caller:
        await asyncio.sleep(0)
        return Caller("u-late")

    async def main() -> None:
        with anyio.CancelScope() as outer:

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                stamp_usage("m", 9, 5)
                outer.cancel()
                await anyio.sleep(60)

            bench.app.app = app
            await run(bench.app, post())
        while not bench.recorder.events:
            await asyncio.sleep(0)

    bench = Bench(answering({}), identify=identify)

    asyncio.run(asyncio.wait_for(main(), 10))

    assert (0, False, "partial", 14) == facts(bench)


def test_async_identify_needs_no_asyncio() -> None:
    """Another event loop than asyncio's has no tasks of ours: the look-up is awaited in place."""

    async def identify(scope: Scope) -> Caller:
        return Caller("u-trio")

    bench = Bench(answering(CHAT), identify=identify)

    with pytest.raises(StopIteration):  # the end of a coroutine that no loop drives
        run(bench.app, post()).send(None)

    assert ("u-trio", 38) == (bench.event.user_id, bench.event.total_tokens)


def test_shutdown_waits_for_callers_that_are_looked_up() -> None:
    """What is being looked up at the server's shutdown is recorded before the recorder stops."""
    answer = asyncio.Event()
    seen_at_stop: list[int] = []

    class Noting(MemoryRecorder):
        def stop(self) -> int:
            seen_at_stop.append(len(self.events))
            return 0

    async def identify(scope: Scope) -> Caller:
        await answer.wait()
        return Caller("u-late")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await answering(CHAT)(scope, receive, send)

    bench = Bench(app, identify=identify, recorder=Noting())

    async def main() -> None:
        request = asyncio.create_task(run(bench.app, post()))
        await asyncio.sleep(0)
        shutdown = asyncio.create_task(run(bench.app, {"type": "lifespan"}))
        asyncio.get_running_loop().call_soon(answer.set)
        await asyncio.gather(request, shutdown)

    asyncio.run(main())

    assert [1] == seen_at_stop


def test_send_that_fails_is_a_client_that_left() -> None:
    """From ASGI 2.4 on, sending to a client that has gone raises OSError."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})

    async def gone(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the client has gone")

    bench = Bench(app)

    with pytest.raises(OSError, match="the client has gone"):
        asyncio.run(bench.app(post(), nothing, gone))

    assert (200, False, "missing", 0) == facts(bench)
    assert {"cancelled": 1} == bench.unrecorded


def test_raise_in_the_middle_of_a_stream_is_a_failure() -> None:
    """A stream that the application broke off by an error failed, though its status was 200."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage("m", 9, 5)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise RuntimeError("the model is gone")

    bench = Bench(app)

    with pytest.raises(RuntimeError, match="the model is gone"):
        asyncio.run(bench.app(post(), hanging, swallow))

    assert (200, True, "partial", 14) == facts(bench)


async def hanging() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_disconnect_after_the_last_chunk_is_none() -> None:
    """Servers report the end of the connection after each answer: that is no cancellation."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(CHAT)(scope, receive, send)
        assert "http.disconnect" == (await receive())["type"]

    bench = Bench(app)

    leave(bench)

    assert (200, False, "complete", 38) == facts(bench)


def test_disconnect_during_the_last_chunk_does_not_count() -> None:
    """A server may report the end of the connection before its `send` of the last chunk returns:
    the answer is complete."""
    over, heard = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        listening = asyncio.create_task(listen(receive))
        await answering(CHAT)(scope, receive, send)
        await listening

    async def listen(receive: Receive) -> None:
        await receive()
        heard.set()

    async def receive() -> Message:
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            over.set()
            await heard.wait()

    bench = Bench(app)

    asyncio.run(bench.app(post(), receive, send))

    assert (200, False, "complete", 38) == facts(bench)


def test_error_after_the_last_chunk_fails_no_request() -> None:
    """The client has its whole answer: a background task that raises afterwards changes nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(CHAT)(scope, receive, send)
        raise RuntimeError("the background task's own")

    bench = Bench(app)

    bench.post()

    assert (200, False, "complete", 38) == facts(bench)

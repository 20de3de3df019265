"""Calls that a program makes while a middleware watches its own request: the tokens count once."""

import asyncio
import gc
import weakref

import httpx
import pytest

from tests.support.httpx_clients import ADA, CHAT, JSON
from tests.support.loopback import serving
from tests.support.waiting import eventually
from usagepipe.producer import Caller, UsageMiddleware, stamp_usage
from usagepipe.producer import httpx as for_httpx
from usagepipe.producer.httpx import AsyncUsageTransport
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import Receive, Scope, Send

pytestmark = pytest.mark.one_process


def test_request_that_is_watched_already_counts_once(url: str) -> None:
    """A gateway with the middleware may use the transport as well: the request is one event."""
    recorder = MemoryRecorder()
    transport = AsyncUsageTransport(httpx.AsyncHTTPTransport(), recorder=recorder, caller=ADA)

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        async with httpx.AsyncClient(transport=transport) as client:
            answer = await client.post(f"{url}/v1/chat")
        await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
        await send({"type": "http.response.body", "body": answer.content})

    app = UsageMiddleware(gateway, recorder=recorder, identify=lambda scope: Caller("u-web"))
    with serving(app, lifespan="off") as address:
        httpx.post(f"{address}/v1/chat")
        eventually(lambda: recorder.events)

    assert [("u-web", 38)] == [(e.user_id, e.total_tokens) for e in recorder.events]


def test_task_that_outlives_its_request_counts_for_itself(url: str) -> None:
    """A call of a task that a request left running is not part of that request and is recorded."""
    recorder = MemoryRecorder()
    transport = AsyncUsageTransport(httpx.AsyncHTTPTransport(), recorder=recorder, caller=ADA)
    over = asyncio.Event()
    tasks = []

    async def call_later() -> None:
        await over.wait()
        async with httpx.AsyncClient(transport=transport) as client:
            await client.post(f"{url}/v1/chat")

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        tasks.append(asyncio.create_task(call_later()))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main() -> None:
        app = UsageMiddleware(gateway, recorder=recorder, identify=lambda scope: Caller("u-web"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            await client.post("http://gateway/start")
        over.set()
        await tasks[0]

    asyncio.run(main())

    assert [("u-ada", 38)] == [(e.user_id, e.total_tokens) for e in recorder.events]


def test_calls_of_a_request_that_tells_no_tokens_itself_count(url: str) -> None:
    """A handler that asks a model twice and answers plain text: the two calls are the events, and
    the request, which has no tokens, is none beside them."""
    recorder = MemoryRecorder()
    transport = for_httpx.AsyncUsageTransport(
        httpx.AsyncHTTPTransport(), recorder=recorder, caller=ADA
    )

    async def summarize(scope: Scope, receive: Receive, send: Send) -> None:
        async with httpx.AsyncClient(transport=transport) as client:
            for _ in range(2):
                await client.post(f"{url}/v1/chat")
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"short"})

    app = UsageMiddleware(summarize, recorder=recorder, identify=lambda scope: Caller("u-web"))
    with serving(app, lifespan="off") as address:
        httpx.post(f"{address}/summarize", json={"model": "m-1"})
        eventually(lambda: recorder.events)

    assert [("u-ada", "/v1/chat", 38)] * 2 == [
        (event.user_id, event.endpoint, event.total_tokens) for event in recorder.events
    ]
    assert {} == recorder.counters.unrecorded


def test_call_that_ends_after_its_request_counts_once(url: str) -> None:
    """A stream that the handler left unread is closed a moment after the request is over: its
    tokens are those that the handler has stamped."""
    recorder = MemoryRecorder()
    transport = for_httpx.AsyncUsageTransport(
        httpx.AsyncHTTPTransport(), recorder=recorder, caller=ADA
    )
    client = httpx.AsyncClient(transport=transport)
    left: list[httpx.Response] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        request = client.build_request("POST", f"{url}/v1/chat")
        left.append(await client.send(request, stream=True))
        stamp_usage("m-1", 31, 7)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main() -> None:
        app = UsageMiddleware(handler, recorder=recorder, identify=lambda scope: Caller("u-web"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as user:
            await user.post("http://gateway/start")
        async for _ in left[0].aiter_raw():
            pass
        await client.aclose()

    asyncio.run(main())

    assert [("u-web", 38)] == [(e.user_id, e.total_tokens) for e in recorder.events]


# Collecting, it meets what other tests have left of their clients.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_calls_of_a_long_request_hold_no_bodies() -> None:
    """A handler that sends many large requests keeps their events in memory, not their bodies."""
    recorder = MemoryRecorder()
    sent: list[weakref.ref[httpx.Request]] = []
    alive = 0

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(weakref.ref(request))
        return httpx.Response(200, json=CHAT)

    transport = for_httpx.UsageTransport(httpx.MockTransport(answer), recorder=recorder, caller=ADA)

    async def agent(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal alive
        with httpx.Client(transport=transport) as client:
            for _ in range(50):
                client.post("http://provider/v1/chat", content=b"large")
        gc.collect()
        alive = sum(request() is not None for request in sent)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main() -> None:
        app = UsageMiddleware(agent, recorder=recorder, identify=lambda scope: Caller("u-web"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            await client.post("http://gateway/start")

    asyncio.run(main())

    assert 50 == len(recorder.events)
    assert alive <= 1

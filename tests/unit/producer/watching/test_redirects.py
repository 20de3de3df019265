"""A redirect is no answer of a model: the request that follows it is the one that counts."""

import asyncio
from typing import Any

import httpx
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from usagepipe.producer import Caller, UsageMiddleware
from usagepipe.producer.httpx import AsyncUsageTransport as AsyncHttpx
from usagepipe.producer.httpx import UsageTransport as Httpx
from usagepipe.producer.httpx2 import UsageTransport as Httpx2
from usagepipe.producer.testing import MemoryRecorder

CHAT = {"model": "m", "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
ASKED = {"model": "m", "messages": []}


def answering(library: Any, status: int) -> Any:
    """A transport that redirects `/old` twice and answers `/new`."""

    def answer(request: Any) -> Any:
        if request.url.path == "/new":
            return library.Response(200, json=CHAT)
        to = "/new" if request.url.path == "/newer" else "/newer"
        return library.Response(status, headers={"location": to}, json={"moved": True})

    return library.MockTransport(answer)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("library", "transport"), [(httpx, Httpx), (httpx2, Httpx2)])
def test_a_redirected_call_is_one_event(library: Any, transport: Any, status: int) -> None:
    """Two hops and the answer: one event, nothing missing and nothing left out."""
    recorder = MemoryRecorder()
    watched = transport(answering(library, status), recorder=recorder, caller=Caller("u"))

    with library.Client(transport=watched, follow_redirects=True) as client:
        client.post("http://provider/old", json=ASKED)

    assert [(7, "complete", "/new")] == [
        (event.total_tokens, event.usage_quality, event.endpoint) for event in recorder.events
    ]
    assert {} == recorder.counters.unrecorded


def test_a_redirected_async_call_is_one_event() -> None:
    """The same for async."""
    recorder = MemoryRecorder()
    watched = AsyncHttpx(answering(httpx, 307), recorder=recorder, caller=Caller("u"))

    async def call() -> None:
        async with httpx.AsyncClient(transport=watched, follow_redirects=True) as client:
            await client.post("http://provider/old", json=ASKED)

    asyncio.run(call())

    assert [7] == [event.total_tokens for event in recorder.events]


@pytest.mark.parametrize(("status", "headers"), [(304, {"location": "/new"}), (307, {})])
def test_what_redirects_nowhere_is_an_answer(status: int, headers: dict[str, str]) -> None:
    """Another status, or no place to go to: a request without usage, as ever."""
    recorder = MemoryRecorder()
    inner = httpx.MockTransport(lambda request: httpx.Response(status, headers=headers))
    watched = Httpx(inner, recorder=recorder, caller=Caller("u"))

    with httpx.Client(transport=watched) as client:
        client.post("http://provider/old", json=ASKED)

    assert ["missing"] == [event.usage_quality for event in recorder.events]


def test_a_redirect_of_the_service_itself_is_no_request_to_a_model() -> None:
    """Starlette redirects a path with one slash too many: the client's next request counts."""

    async def chat(request: Request) -> JSONResponse:
        return JSONResponse(CHAT)

    recorder = MemoryRecorder()
    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    app.add_middleware(UsageMiddleware, recorder=recorder, identify=lambda scope: Caller("u"))

    TestClient(app).post("/chat/", json=ASKED)

    assert [7] == [event.total_tokens for event in recorder.events]

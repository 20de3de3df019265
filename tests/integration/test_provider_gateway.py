"""What passes through `examples/provider_gateway.py`, byte for byte, and when."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from tests.support import stub_answers, stub_provider
from tests.support.gateway_world import (
    AUTHORIZED,
    BODIES,
    REPORTED,
    STREAMS,
    World,
    gateway_before,
    reported,
)
from tests.support.loopback import SECONDS, serving
from tests.support.official_clients import ASKED_MODEL
from tests.support.stub_answers import FIRST_OUTPUT_TOKENS, WORDS

HELD_SECONDS = 0.3
POLL_SECONDS = 0.005

Raw = tuple[int, list[tuple[bytes, bytes]], bytes]

pytestmark = pytest.mark.one_process


def raw(url: str, api: str, stream: bool, headers: dict[str, str]) -> Raw:
    """Status, headers but those that each server writes, and body as it came."""
    body = {"model": ASKED_MODEL, "stream": stream} | BODIES[api]
    with httpx.Client(timeout=SECONDS) as client:
        del client.headers["accept-encoding"]
        with client.stream("POST", url + REPORTED[api][1], json=body, headers=headers) as answer:
            content = b"".join(answer.iter_raw())
    kept = [pair for pair in answer.headers.raw if pair[0].lower() not in {b"date", b"server"}]
    return answer.status_code, sorted(kept), content


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    """One gateway for all: each test waits for its events, and forgets those of the one before."""
    with serving(stub_provider.app) as provider, gateway_before(provider) as world:
        yield world


@pytest.mark.parametrize("encoding", ["gzip", None])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", REPORTED)
def test_every_byte_is_the_providers(
    shared: World, api: str, stream: bool, encoding: str | None
) -> None:
    """Body and headers are as the provider sends them, and read all the same: compressed JSON is
    passed on compressed, and nothing is compressed that the client did not ask for."""
    shared.recorder.events.clear()
    headers = AUTHORIZED | ({"accept-encoding": encoding} if encoding else {})
    expected = raw(shared.provider, api, stream, headers)

    seen = raw(shared.url, api, stream, headers)

    (event,) = shared.events()
    compressed = encoding == "gzip" and not stream
    assert expected == seen
    assert compressed == ((b"content-encoding", b"gzip") in seen[1])
    assert REPORTED[api] == reported(event)


def test_key_is_passed_on_and_cookies_are_not() -> None:
    """The provider sees the client's key and body; what is between gateway and client it does
    not see."""
    asked: list[tuple[dict[str, str], bytes]] = []

    async def answer(request: Request) -> JSONResponse:
        asked.append((dict(request.headers), await request.body()))
        return JSONResponse(stub_answers.chat())

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
    with serving(app) as provider, gateway_before(provider) as world:
        raw(world.url, "chat", False, AUTHORIZED | {"cookie": "session=s-1", "openai-project": "p"})

    ((headers, body),) = asked
    assert (AUTHORIZED["authorization"], "p") == (
        headers["authorization"],
        headers["openai-project"],
    )
    assert {"accept-encoding"} == {
        "cookie",
        "transfer-encoding",
        "accept-encoding",
    } & headers.keys()
    assert ASKED_MODEL == json.loads(body)["model"]


class Paced:
    """A provider that sends an event of its stream only when it may."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.left = threading.Event()  # nobody reads the stream any more
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> StreamingResponse:
        events = self._events(STREAMS[request.url.path])
        return StreamingResponse(events, media_type=stub_provider.EVENT_STREAM)

    async def _events(self, events: list[str]) -> AsyncIterator[str]:
        try:
            for event in events:
                await self._is_allowed()
                yield event
        finally:
            self.left.set()

    async def _is_allowed(self) -> None:
        async with asyncio.timeout(SECONDS):
            while not self.allowed.acquire(blocking=False):
                await asyncio.sleep(POLL_SECONDS)


@pytest.fixture
def paced() -> Paced:
    return Paced()


@pytest.mark.parametrize("api", REPORTED)
def test_each_event_reaches_the_client_before_the_next_is_sent(paced: Paced, api: str) -> None:
    """The provider sends an event when the client has the one before, and the second after a
    while: none is held back, and the time to the first byte is that of the first."""
    body = {"model": ASKED_MODEL, "stream": True} | BODIES[api]
    arrived: list[str] = []
    paced.allowed.release()

    with serving(paced.app) as provider, gateway_before(provider) as world:
        url = world.url + REPORTED[api][1]
        with httpx.stream("POST", url, json=body, headers=AUTHORIZED, timeout=SECONDS) as answer:
            for chunk in answer.iter_raw():
                if not arrived:
                    time.sleep(HELD_SECONDS)  # the provider's pause, not a wait for luck
                arrived.append(chunk.decode())
                paced.allowed.release()
        (event,) = world.events()

    assert STREAMS[REPORTED[api][1]] == arrived
    assert REPORTED[api] == reported(event)
    assert event.ttft_ms is not None
    assert event.ttft_ms <= event.duration_ms - HELD_SECONDS * 1_000 + 1


LEFT = {
    "chat": ("missing", 0, 0),
    "responses": ("missing", 0, 0),
    "messages": ("partial", 135, FIRST_OUTPUT_TOKENS),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("api", REPORTED)
def test_client_that_stops_reading_is_charged_for_what_wastold(
    paced: Paced, api: str, is_async: bool
) -> None:
    """Anthropic sends the input tokens first, so an abandoned stream has them and is partial.
    OpenAI sends all counts last, so an abandoned stream has none. The gateway also leaves the
    provider."""
    events = STREAMS[REPORTED[api][1]]
    paced.allowed.release(1 + next(n for n, event in enumerate(events) if WORDS[0] in event))

    with serving(paced.app) as provider, gateway_before(provider) as world:
        first = replace(world, is_async=is_async).ask_and_leave(api)
        (event,) = world.events()
        left = paced.left.wait(SECONDS / 2)

    assert WORDS[0] == first
    assert left
    assert LEFT[api] == (event.usage_quality, event.prompt_tokens, event.completion_tokens)
    assert (False, True, 200) == (event.failed, event.streaming, event.status_code)

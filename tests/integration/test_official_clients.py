"""OpenAI's and Anthropic's own clients through `examples/provider_gateway.py`, on real servers.

The provider is a stub that answers as theirs do; what the clients send and expect is real.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import anthropic
import httpx
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from examples.provider_gateway import gateway
from tests.support import stub_answers, stub_provider
from tests.support.loopback import SECONDS, serving
from tests.support.official_clients import ASKED_MODEL, OfficialClients
from tests.support.stub_answers import CLAUDE, FIRST_OUTPUT_TOKENS, MODEL, TEXT, WORDS
from tests.support.waiting import eventually
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.schemas import UsageEvent

KEY = "sk-of-a-client-of-the-gateway"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}
SECRET = "a-secret-of-these-tests"
NOWHERE = "http://127.0.0.1:1"
HELD_SECONDS = 0.3
POLL_SECONDS = 0.005

# By the way to ask: provider, endpoint, model, prompt, completion, total, cached, written to the
# cache, reasoning.
TOLD = {
    "chat": ("openai", "/v1/chat/completions", MODEL, 2006, 300, 2306, 1920, 0, 200),
    "responses": ("openai", "/v1/responses", MODEL, 328, 1052, 1380, 256, 0, 832),
    "messages": ("anthropic", "/v1/messages", CLAUDE, 135, 15, 150, 100, 10, 0),
}
STREAMS = {
    "/v1/chat/completions": stub_answers.chat_events(with_usage=True),
    "/v1/responses": stub_answers.response_events(),
    "/v1/messages": stub_answers.message_events(),
}
BODIES: dict[str, dict[str, Any]] = {
    "chat": {
        "messages": [{"role": "user", "content": "hello"}],
        "stream_options": {"include_usage": True},
    },
    "responses": {"input": "hello"},
    "messages": {"messages": [{"role": "user", "content": "hello"}]},
}


class World:
    """The gateway in front of a provider, and the two clients in front of it."""

    def __init__(self, url: str, recorder: MemoryRecorder, *, is_async: bool = False) -> None:
        self.url = url
        self.recorder = recorder
        self._is_async = is_async

    def ask(self, api: str, said: str = "hello", *, stream: bool, **options: Any) -> str:
        """The whole text of the answer."""

        async def whole(clients: OfficialClients) -> str:
            return "".join([text async for text in clients.ask(api, said, stream, **options)])

        return self._run(whole)

    def ask_and_leave(self, api: str) -> str:
        """The first piece of text of a stream that is left then."""

        async def first(clients: OfficialClients) -> str:
            async with aclosing(clients.ask(api, "hello", True)) as pieces:
                return await anext(pieces)

        return self._run(first)

    def _run(self, act: Callable[[OfficialClients], Coroutine[Any, Any, str]]) -> str:
        async def run() -> str:
            clients = OfficialClients(self.url, KEY, is_async=self._is_async)
            try:
                return await act(clients)
            finally:
                await clients.close()

        return asyncio.run(run())

    def events(self, count: int = 1) -> list[UsageEvent]:
        """All events, when there are `count`."""
        recorded = self.recorder.events
        eventually(lambda: len(recorded) >= count, SECONDS, "the events")
        assert count == len(recorded)
        return recorded


@contextmanager
def gateway_before(provider: str) -> Iterator[World]:
    """A gateway that asks the provider at that address."""
    recorder = MemoryRecorder()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("OPENAI_UPSTREAM", provider)
        monkeypatch.setenv("ANTHROPIC_UPSTREAM", provider)
        monkeypatch.setenv("KEY_SECRET", SECRET)
        app = gateway(recorder)
    with serving(app) as url:
        yield World(url, recorder)


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with serving(stub_provider.app) as url:
        yield url


@pytest.fixture(scope="module")
def shared(provider: str) -> Iterator[World]:
    """One gateway for all: each test waits for its events, and forgets those of the one before."""
    with gateway_before(provider) as world:
        yield world


@pytest.fixture(params=["sync", "async"])
def world(request: pytest.FixtureRequest, shared: World) -> World:
    shared.recorder.events.clear()
    return World(shared.url, shared.recorder, is_async=request.param == "async")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", TOLD)
def test_answer_reaches_the_client_and_is_an_event(world: World, api: str, stream: bool) -> None:
    """The client has its text; the event has the provider's model and tokens, both models, the
    time to the first byte of a stream, and the key as a fingerprint and nothing of it else."""
    text = world.ask(api, stream=stream)

    (event,) = world.events()
    assert TEXT == text
    assert TOLD[api] == _told(event)
    assert (ASKED_MODEL, "complete", 200, False, stream, 1) == (
        event.requested_model,
        event.usage_quality,
        event.status_code,
        event.failed,
        event.streaming,
        event.attempt,
    )
    assert stream == (event.ttft_ms is not None)
    assert ("apikey", event.user_id) == (event.source, event.api_key_id)
    assert KEY not in event.model_dump_json()


def test_stream_that_was_not_asked_for_usage_tells_none(world: World) -> None:
    """T-40: OpenAI's chat stream without `include_usage` is one event of zero tokens, flagged."""
    text = world.ask("chat", stream=True, stream_options={"include_usage": False})

    (event,) = world.events()
    assert TEXT == text
    assert ("missing", 0, True, False, ASKED_MODEL) == (
        event.usage_quality,
        event.total_tokens,
        event.streaming,
        event.failed,
        event.requested_model,
    )


IDS = {
    "correlation id": ({"x-correlation-id": "req-7"}, "req-7"),
    "idempotency key": ({"Idempotency-Key": "idem-7"}, "idem-7"),
    "no id": ({}, ""),
}


@pytest.mark.parametrize("api", TOLD)
@pytest.mark.parametrize(("headers", "request_id"), IDS.values(), ids=IDS)
def test_retries_of_a_client_are_attempts(
    world: World, api: str, headers: dict[str, str], request_id: str
) -> None:
    """T-39: refused twice by 429, both clients try a third time by themselves: three events, two
    failed and of no tokens, with the number of each try. An id that the application gives its
    request is that of all three; the clients give none of their own."""
    text = world.ask(api, "limited", stream=False, extra_headers=headers)

    events = world.events(stub_provider.TRIES)
    assert TEXT == text
    assert [
        (1, 429, True, "missing", 0),
        (2, 429, True, "missing", 0),
        (3, 200, False, "complete", TOLD[api][5]),
    ] == [(e.attempt, e.status_code, e.failed, e.usage_quality, e.total_tokens) for e in events]
    assert [request_id] * 3 == [event.request_id for event in events]


@pytest.mark.parametrize("api", TOLD)
def test_error_of_the_provider_is_the_clients(world: World, api: str) -> None:
    """T-04: what the provider fails with reaches the client as its own class of error."""
    with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)):
        world.ask(api, "fail", stream=True)

    events = world.events(stub_provider.TRIES)
    assert [1, 2, 3] == [event.attempt for event in events]
    assert {(500, True, 0)} == {(e.status_code, e.failed, e.total_tokens) for e in events}


def test_provider_that_cannot_be_reached_is_a_failed_event() -> None:
    """The gateway answers 502, which the client understands, and tries again after."""
    with gateway_before(NOWHERE) as world:
        with pytest.raises(openai.InternalServerError, match="ConnectError"):
            world.ask("chat", stream=False)

        events = world.events(stub_provider.TRIES)

    assert {("openai", 502, True)} == {(e.provider, e.status_code, e.failed) for e in events}


Raw = tuple[int, list[tuple[bytes, bytes]], bytes]


def raw(url: str, api: str, stream: bool, headers: dict[str, str]) -> Raw:
    """Status, headers but those that each server writes, and body as it came."""
    body = {"model": ASKED_MODEL, "stream": stream} | BODIES[api]
    with httpx.Client(timeout=SECONDS) as client:
        del client.headers["accept-encoding"]
        with client.stream("POST", url + TOLD[api][1], json=body, headers=headers) as answer:
            content = b"".join(answer.iter_raw())
    kept = [pair for pair in answer.headers.raw if pair[0].lower() not in {b"date", b"server"}]
    return answer.status_code, sorted(kept), content


@pytest.mark.parametrize("encoding", ["gzip", None])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", TOLD)
def test_every_byte_is_the_providers(
    provider: str, shared: World, api: str, stream: bool, encoding: str | None
) -> None:
    """Body and headers are as the provider sends them, and read all the same: compressed JSON is
    passed on compressed, and nothing is compressed that the client did not ask for."""
    shared.recorder.events.clear()
    headers = AUTHORIZED | ({"accept-encoding": encoding} if encoding else {})
    expected = raw(provider, api, stream, headers)

    seen = raw(shared.url, api, stream, headers)

    (event,) = shared.events()
    compressed = encoding == "gzip" and not stream
    assert expected == seen
    assert compressed == ((b"content-encoding", b"gzip") in seen[1])
    assert TOLD[api] == _told(event)


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
    assert {"cookie", "transfer-encoding", "accept-encoding"} & headers.keys() == {
        "accept-encoding"
    }
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


@pytest.mark.parametrize("api", TOLD)
def test_each_event_reaches_the_client_before_the_next_is_sent(paced: Paced, api: str) -> None:
    """The provider sends an event when the client has the one before, and the second after a
    while: none is held back, and the time to the first byte is that of the first."""
    body = {"model": ASKED_MODEL, "stream": True} | BODIES[api]
    arrived: list[str] = []
    paced.allowed.release()

    with serving(paced.app) as provider, gateway_before(provider) as world:
        url = world.url + TOLD[api][1]
        with httpx.stream("POST", url, json=body, headers=AUTHORIZED, timeout=SECONDS) as answer:
            for chunk in answer.iter_raw():
                if not arrived:
                    time.sleep(HELD_SECONDS)  # the provider's pause, not a wait for luck
                arrived.append(chunk.decode())
                paced.allowed.release()
        (event,) = world.events()

    assert STREAMS[TOLD[api][1]] == arrived
    assert TOLD[api] == _told(event)
    assert event.ttft_ms is not None
    assert event.ttft_ms <= event.duration_ms - HELD_SECONDS * 1_000 + 1


LEFT = {
    "chat": ("missing", 0, 0),
    "responses": ("missing", 0, 0),
    "messages": ("partial", 135, FIRST_OUTPUT_TOKENS),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("api", TOLD)
def test_client_that_stops_reading_is_charged_for_what_was_told(
    paced: Paced, api: str, is_async: bool
) -> None:
    """Anthropic tells the input tokens at once: a stream that is left has them and is partial.
    OpenAI tells all at the end, so of a stream that is left nothing is known. The provider is left
    as well."""
    events = STREAMS[TOLD[api][1]]
    paced.allowed.release(1 + next(n for n, event in enumerate(events) if WORDS[0] in event))

    with serving(paced.app) as provider, gateway_before(provider) as world:
        leaving = World(world.url, world.recorder, is_async=is_async)
        first = leaving.ask_and_leave(api)
        (event,) = world.events()
        left = paced.left.wait(SECONDS / 2)

    assert WORDS[0] == first
    assert left
    assert LEFT[api] == (event.usage_quality, event.prompt_tokens, event.completion_tokens)
    assert (False, True, 200) == (event.failed, event.streaming, event.status_code)


def _told(event: UsageEvent) -> tuple[object, ...]:
    tokens = (event.prompt_tokens, event.completion_tokens, event.total_tokens)
    parts = (event.cached_tokens, event.cache_write_tokens, event.reasoning_tokens)
    return event.provider, event.endpoint, event.model, *tokens, *parts

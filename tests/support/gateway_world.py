"""The gateway of `examples/provider_gateway.py` on a real server, with a stub provider and
the official clients; and the usage that the stub provider reports for each of their APIs.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from examples.provider_gateway import gateway
from tests.support import stub_answers
from tests.support.loopback import SECONDS, serving
from tests.support.official_clients import OfficialClients
from tests.support.stub_answers import CLAUDE, MODEL
from tests.support.waiting import eventually
from usagepipe.producer import Caller
from usagepipe.producer.httpx2 import AsyncUsageTransport, UsageTransport
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.schemas import UsageEvent

KEY = "sk-of-a-client-of-the-gateway"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}
SECRET = "a-secret-of-these-tests"

# By the way to ask: provider, endpoint, model, prompt, completion, total, cached, written to the
# cache, reasoning.
REPORTED = {
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


@dataclass(frozen=True)
class World:
    """The gateway in front of a provider, and the two clients in front of it."""

    provider: str
    url: str  # of the gateway
    recorder: MemoryRecorder
    is_async: bool = False
    records_itself: bool = False  # the clients do, by a transport

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
            options = {"http_client": self._http_client()} if self.records_itself else {}
            clients = OfficialClients(self.url, KEY, is_async=self.is_async, **options)
            try:
                return await act(clients)
            finally:
                await clients.close()

        return asyncio.run(run())

    def _http_client(self) -> httpx2.Client | httpx2.AsyncClient:
        caller = Caller("u-program")
        if self.is_async:
            around = httpx2.AsyncHTTPTransport()
            recording = AsyncUsageTransport(around, recorder=self.recorder, caller=caller)
            return httpx2.AsyncClient(transport=recording)
        transport = UsageTransport(httpx2.HTTPTransport(), recorder=self.recorder, caller=caller)
        return httpx2.Client(transport=transport)

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
        yield World(provider, url, recorder)


def reported(event: UsageEvent) -> tuple[object, ...]:
    """The fields of an event that `REPORTED` holds."""
    tokens = (event.prompt_tokens, event.completion_tokens, event.total_tokens)
    parts = (event.cached_tokens, event.cache_write_tokens, event.reasoning_tokens)
    return event.provider, event.endpoint, event.model, *tokens, *parts

"""Small ASGI applications under the middleware, and all that comes out of them."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx

from usagepipe.producer import Caller, UsageMiddleware, stamp_usage
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import App, Message, Receive, Scope, Send
from usagepipe.schemas.event import UsageEvent

PATH = "/v1/chat/completions"
STREAM = [("content-type", "text/event-stream")]
OVERLOADED = {"error": {"message": "overloaded"}}
ALICE = Caller("u-alice", "Alice", api_key_id="k-1", api_key_name="laptop", team_id="t-1")
CHAT = {"model": "qwen-7b", "usage": {"prompt_tokens": 31, "completion_tokens": 7}}


def answering(
    body: object,
    *,
    status: int = 200,
    headers: list[tuple[str, str]] | None = None,
    before: Callable[[], object] = lambda: None,
) -> App:
    """An application that runs `before`, then answers `body` (bytes, or an object as JSON)."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = [("content-type", "application/json")] if headers is None else headers

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        before()
        encoded = [(name.encode(), value.encode()) for name, value in pairs]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": raw})

    return app


def failing(*_: object) -> Any:
    """A hook that raises an error whose text must not be logged."""
    raise RuntimeError("sk-secret-in-the-text")


class Bench:
    """An application under the middleware, and all that comes out of it."""

    def __init__(self, app: App, **options: Any) -> None:
        self.recorder = options.pop("recorder", None) or MemoryRecorder()
        identify = options.pop("identify", lambda scope: ALICE)
        self.app = UsageMiddleware(app, recorder=self.recorder, identify=identify, **options)

    def get(self, path: str = PATH, **headers: str) -> httpx.Response:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str = PATH, body: object = None, **headers: str) -> httpx.Response:
        return self.ask("POST", path, headers=headers, json=body)

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                return await client.request(method, path, **request)

        return asyncio.run(one())

    @property
    def event(self) -> UsageEvent:
        (event,) = self.recorder.events
        return event

    @property
    def tokens(self) -> tuple[int, int, int]:
        event = self.event
        return event.prompt_tokens, event.completion_tokens, event.total_tokens

    @property
    def unrecorded(self) -> dict[str, int]:
        return {
            k: n for found in self.recorder.counters.unrecorded.values() for k, n in found.items()
        }


async def run(app: App, scope: Scope, sent: list[Message] | None = None) -> None:
    messages = [] if sent is None else sent

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, nothing, send)


async def nothing() -> Message:
    return {"type": "http.disconnect"}


async def swallow(message: Message) -> None: ...


def post(path: str = PATH, headers: list[tuple[bytes, bytes]] | None = None) -> Scope:
    """The scope of a POST."""
    return {"type": "http", "method": "POST", "path": path, "headers": headers or []}


def facts(bench: Bench) -> tuple[int, bool, str, int]:
    """Status, failed, quality and tokens of the one event."""
    event = bench.event
    return event.status_code, event.failed, event.usage_quality, event.total_tokens


def reading(app: App) -> App:
    """`app` after the whole body of the request was read."""

    async def read_first(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        await app(scope, receive, send)

    return read_first


def endless(*, stamp: bool = False, begun: bool = True) -> App:
    """Streams a chunk, then waits for ever, as Starlette's streams: until the client leaves."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if stamp:
            stamp_usage("m", 9, 5)
        if begun:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            chunk = b'data: {"choices": []}\n\n'
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    return app


def leave(bench: Bench, path: str = PATH) -> None:
    """Ask, and leave at the first chunk."""
    asyncio.run(run(bench.app, post(path)))

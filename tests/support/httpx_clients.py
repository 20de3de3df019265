"""Clients of httpx and httpx2 behind our transports, and a provider that answers them."""

import asyncio
import gzip
import json
from typing import Any

import httpx
import httpx2

from usagepipe.producer import Caller
from usagepipe.producer import httpx as for_httpx
from usagepipe.producer import httpx2 as for_httpx2
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import Receive, Scope, Send

ADA = Caller("u-ada", "Ada")


OURS: dict[Any, Any] = {httpx: for_httpx, httpx2: for_httpx2}


CHAT = {"model": "m-1", "usage": {"prompt_tokens": 31, "completion_tokens": 7}}


JSON = (b"content-type", b"application/json")


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def provider(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers by the path: /status/429, /gzip, /halves (JSON in two chunks), /breaks."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    kind, _, detail = scope["path"][1:].partition("/")
    body, headers = json.dumps(CHAT).encode(), [JSON, (b"x-request-id", b"req-7")]
    status = int(detail) if kind == "status" else 200
    if kind == "gzip":
        body = gzip.compress(body)
        headers.append((b"content-encoding", b"gzip"))
    if kind == "status":
        body = b'{"error": {}}'
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body[:9], "more_body": True})
    if kind == "breaks":
        raise ConnectionError("as asked for")
    await send({"type": "http.response.body", "body": body[9:]})


class Client:
    """One of a library's two clients behind our transport, used the same way."""

    def __init__(
        self, library: Any, url: str, *, is_async: bool, caller: Any = ADA, **options: Any
    ) -> None:
        self.recorder = MemoryRecorder()
        self._library = library
        self._ours = OURS[library]
        self.url = url
        self._options = {"recorder": self.recorder, "caller": caller} | options
        self._is_async = is_async

    def post(self, path: str, body: object = None, **headers: str) -> Any:
        """Read the whole answer."""
        if not self._is_async:
            with self.sync() as client:
                return client.post(path, json=body, headers=headers)

        async def one() -> Any:
            async with self.asynchronous() as client:
                return await client.post(path, json=body, headers=headers)

        return asyncio.run(one())

    def post_and_leave(self, path: str) -> bytes:
        """Read the first chunk of a stream and close it."""
        if not self._is_async:
            with self.sync() as client, client.stream("POST", path) as answer:
                read: bytes = next(answer.iter_raw())
                return read

        async def one() -> bytes:
            async with self.asynchronous() as client, client.stream("POST", path) as answer:
                chunks = answer.aiter_raw()
                first: bytes = await anext(chunks)
                await chunks.aclose()
                return first

        return asyncio.run(one())

    def post_and_read_nothing(self, path: str) -> int:
        """Close an answer whose status is enough; that status."""
        if not self._is_async:
            with self.sync() as client, client.stream("POST", path) as answer:
                return int(answer.status_code)

        async def one() -> int:
            async with self.asynchronous() as client, client.stream("POST", path) as answer:
                return int(answer.status_code)

        return asyncio.run(one())

    def sync(self) -> Any:
        transport = self._ours.UsageTransport(self._library.HTTPTransport(), **self._options)
        return self._library.Client(transport=transport, base_url=self.url)

    def asynchronous(self) -> Any:
        around = self._library.AsyncHTTPTransport()
        transport = self._ours.AsyncUsageTransport(around, **self._options)
        return self._library.AsyncClient(transport=transport, base_url=self.url)

    @property
    def facts(self) -> tuple[int, bool, str, int]:
        (event,) = self.recorder.events
        return event.status_code, event.failed, event.usage_quality, event.total_tokens

    @property
    def unrecorded(self) -> dict[str, int]:
        counted = self.recorder.counters.unrecorded.values()
        return {reason: n for reasons in counted for reason, n in reasons.items()}

"""A gateway to a model, its client, and the middleware that does nothing, all without a socket.

The client stands where a server would: what it is sent has left the middleware. So its clock
tells when an answer's bytes may go on their way, and nothing of a network is in any number.
"""

import json
import time
from collections.abc import Iterable
from typing import Final

from benchmarks.extraction import EVENTS, JSON, USAGE
from usagepipe.producer.watching.asgi import App, Message, Receive, Scope, Send

BODY: Final = "http.response.body"
MODEL: Final = "gpt-5-2025-08-07"
ASKED: Final = json.dumps(
    {
        "model": "gpt-5",
        "messages": [{"role": "user", "content": "Why is the sky blue? Answer in one sentence."}],
        "stream_options": {"include_usage": True},
    }
).encode()
HEADERS: Final = (
    (b"host", b"gateway.example"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"authorization", b"Bearer not-a-key"),
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(ASKED)),
    (b"user-agent", b"OpenAI/Python 1.99.9"),
    (b"x-stainless-retry-count", b"0"),
)


def chat() -> App:
    """A gateway that answers with one JSON document of 1 kB."""
    message = {"role": "assistant", "content": "Air scatters blue light more than red. " * 16}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    head = {"id": "chatcmpl-C1KMEUDb1vVwsROQUCZTg", "object": "chat.completion", "model": MODEL}
    answer = json.dumps(head | {"choices": [choice], "usage": USAGE}).encode()

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        json.loads((await receive())["body"])
        await send(_start(JSON))
        await send({"type": BODY, "body": answer})

    return gateway


def streamed_chat(chunks: Iterable[bytes]) -> App:
    """A gateway that sends `chunks` as they come."""

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        json.loads((await receive())["body"])
        await send(_start(EVENTS))
        for chunk in chunks:
            await send({"type": BODY, "body": chunk, "more_body": True})
        await send({"type": BODY, "body": b"", "more_body": False})

    return gateway


def _start(content_type: str) -> Message:
    headers = [(b"content-type", content_type.encode()), (b"x-request-id", b"req_1")]
    return {"type": "http.response.start", "status": 200, "headers": headers}


class DoNothing:
    """The least that a middleware can do which sees each message, both ways."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def pass_in() -> Message:
            return await receive()

        async def pass_on(message: Message) -> None:
            await send(message)

        await self._app(scope, pass_in, pass_on)


class Call:
    """One request, and the moments in nanoseconds when it began, was answered and ended."""

    def __init__(self) -> None:
        self.began = self.ended = 0
        self.pieces: list[int] = []  # of the answer's body, when each was sent

    async def make(self, app: App) -> None:
        """Ask `app`."""
        scope = request()
        self.began = time.perf_counter_ns()
        await app(scope, ask, self._send)
        self.ended = time.perf_counter_ns()

    async def _send(self, message: Message) -> None:
        if message["type"] == BODY:
            self.pieces.append(time.perf_counter_ns())


def request() -> Scope:
    """The scope of a request for a chat."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": HEADERS,
        "client": ("127.0.0.1", 50_000),
    }


async def ask() -> Message:
    """The body of that request, in one piece."""
    return {"type": "http.request", "body": ASKED, "more_body": False}


async def swallow(message: Message) -> None:
    """A client that looks at nothing."""

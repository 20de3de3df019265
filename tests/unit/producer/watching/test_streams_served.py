"""Streams through the middleware on a real server: what its client gets, and the event."""

import asyncio
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import httpx
import pytest
import uvicorn

from tests.support.ports import lasting_port
from tests.support.waiting import eventually
from usagepipe.producer import Caller, UsageMiddleware
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import App, Receive, Scope, Send

USAGE = {"prompt_tokens": 254, "completion_tokens": 5, "total_tokens": 259, "cost": 0.000837}
CHUNKS = [
    b": OPENROUTER PROCESSING\n\n",
    b'data: {"model": "claude", "choices": [{"delta": {"content": "hi"}}]}\n\n',
    b"data: %s\n\n" % json.dumps({"model": "claude", "choices": [], "usage": USAGE}).encode(),
    b"data: [DONE]\n\n",
]


def streaming(chunks: list[bytes], **headers: str) -> App:
    """An application that sends `chunks` one by one as an event stream."""
    pairs = {"content-type": "text/event-stream", **headers}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        encoded = [(name.encode(), value.encode()) for name, value in pairs.items()]
        await send({"type": "http.response.start", "status": 200, "headers": encoded})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


@contextmanager
def served(app: App) -> Iterator[tuple[str, MemoryRecorder]]:
    """The address of `app` under the middleware on uvicorn, and what is recorded."""
    recorder, port = MemoryRecorder(), lasting_port()
    watched = UsageMiddleware(app, recorder=recorder, identify=lambda scope: Caller("u-1"))
    config = uvicorn.Config(watched, port=port, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, what="uvicorn to start")
        yield f"http://127.0.0.1:{port}/v1/chat/completions", recorder
    finally:
        server.should_exit = True
        thread.join()


def flushed(encoding: str) -> list[bytes]:
    """The chunks as a compressing server flushes them."""
    if not encoding:
        return CHUNKS
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    chunks = [packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH) for chunk in CHUNKS]
    return [*chunks, packer.flush()]


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
def test_streamed_usage_becomes_the_event(encoding: str) -> None:
    """The client gets every byte, and the event has the tokens."""
    headers = {"content-encoding": encoding} if encoding else {}
    with served(streaming(flushed(encoding), **headers)) as (url, recorder):
        answer = httpx.get(url)

        (event,) = eventually(lambda: recorder.events, what="the event")

    assert b"".join(CHUNKS) == answer.content
    assert (254, 5, 259) == (event.prompt_tokens, event.completion_tokens, event.total_tokens)
    assert ("claude", True, "complete") == (event.model, event.streaming, event.usage_quality)

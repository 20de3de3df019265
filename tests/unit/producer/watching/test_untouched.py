"""For any answer and any request, the answer reaches the client untouched."""

import asyncio
import io
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.watched import ALICE
from usagepipe.producer import UsageMiddleware, UsageWsgiMiddleware
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import Message, Receive, Scope, Send
from usagepipe.producer.watching.wsgi_watchers import Write

# Bodies near to what is read, so that the reader is reached, and any bytes at all.
PIECES = st.sampled_from(
    [b'{"usage": ', b'{"prompt_tokens": 1e999}', b'"model": "\\ud800"', b"data: ", b"\n\n", b"[[[",
     b"}", b"\xff", b"\xef\xbb\xbf", b"event: message_start\r", b"\x1f\x8b\x08", b"null", b"-1"]
)  # fmt: skip
CHUNKS = st.lists(st.one_of(PIECES, st.binary(max_size=40)), max_size=12)
TYPES = st.sampled_from(
    [b"application/json", b"text/event-stream", b"application/x-ndjson", b"text/html", b"", b"\xff"]
)
ENCODINGS = st.sampled_from([b"", b"gzip", b"br", b"zstd", b"identity", b"\xe4"])
REQUESTS = st.one_of(st.binary(max_size=60), st.just(b'{"model": "m", "stream": true}'))
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"content-type", b"x-correlation-id", b"x-stainless-retry-count", b"idempotency-key"]
        ),
        st.binary(max_size=20) | st.just(b"application/json"),
    ),
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(CHUNKS, TYPES, ENCODINGS, REQUESTS, HEADERS, st.integers(100, 599))
def test_asgi_messages_pass_as_they_are(
    chunks: list[bytes],
    content_type: bytes,
    encoding: bytes,
    body: bytes,
    headers: list[tuple[bytes, bytes]],
    status: int,
) -> None:
    """The very messages of the application come out, in order, and one request is one outcome."""
    answer: list[Message] = [
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type), (b"Content-Encoding", encoding)],
        },
        *({"type": "http.response.body", "body": c, "more_body": True} for c in chunks),
        {"type": "http.response.body"},
    ]
    copies = [dict(message) for message in answer]
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert body == (await receive())["body"]
        for message in answer:
            await send(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    recorder = MemoryRecorder()
    watched = UsageMiddleware(app, recorder=recorder, identify=lambda scope: ALICE)
    scope = {"type": "http", "method": "POST", "path": "/v1", "headers": headers}

    asyncio.run(watched(scope, receive, send))

    assert copies == sent
    assert all(a is b for a, b in zip(answer, sent, strict=True))
    assert 1 == outcomes(recorder)


@settings(max_examples=100, deadline=None)
@given(CHUNKS, TYPES, REQUESTS, st.integers(100, 599), st.integers(0, 12))
def test_wsgi_chunks_pass_as_they_are(
    chunks: list[bytes], content_type: bytes, body: bytes, status: int, taken: int
) -> None:
    """The application's chunks come out as they are asked for, however many the client takes."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert body == environ["wsgi.input"].read()
        start_response(f"{status} Any", [("Content-Type", content_type.decode("latin-1"))])
        yield from chunks

    def start_response(*answer: object) -> Write:
        return lambda chunk: None

    recorder = MemoryRecorder()
    watched = UsageWsgiMiddleware(app, recorder=recorder, identify=lambda environ: ALICE)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/v1",
        "CONTENT_TYPE": "application/json",
        "wsgi.input": io.BytesIO(body),
    }

    answer = watched(environ, start_response)
    got = [chunk for chunk, _ in zip(answer, range(taken), strict=False)]
    answer.close()  # type: ignore[attr-defined]

    assert chunks[:taken] == got
    assert 1 == outcomes(recorder)


def outcomes(recorder: MemoryRecorder) -> int:
    """How many requests are events or counted; one without tokens may be both."""
    counted = sum(n for found in recorder.counters.unrecorded.values() for n in found.values())
    return max(len(recorder.events), counted)

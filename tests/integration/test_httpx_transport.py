"""Calls that a program makes by httpx or httpx2 to a provider: here a uvicorn on loopback."""

import asyncio
import gc
import gzip
import json
import weakref
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

from tests.support.loopback import serving
from tests.support.waiting import eventually
from usagepipe.local.ports import HOST, free_port
from usagepipe.producer import Caller, UsageMiddleware, stamp_usage
from usagepipe.producer import httpx as for_httpx
from usagepipe.producer import httpx2 as for_httpx2
from usagepipe.producer.httpx import AsyncUsageTransport
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


pytestmark = pytest.mark.one_process


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(provider, lifespan="off") as address:
        yield address


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, library: Any, url: str) -> "Client":
    return Client(library, url, is_async=request.param == "async")


class Client:
    """One of a library's two clients behind our transport, used the same way."""

    def __init__(
        self, library: Any, url: str, *, is_async: bool, caller: Any = ADA, **options: Any
    ) -> None:
        self.recorder = MemoryRecorder()
        self._library = library
        self._ours = OURS[library]
        self._url = url
        self._options = {"recorder": self.recorder, "caller": caller} | options
        self._is_async = is_async

    def post(self, path: str, body: object = None, **headers: str) -> Any:
        """Read whole."""
        if not self._is_async:
            with self._sync() as client:
                return client.post(path, json=body, headers=headers)

        async def one() -> Any:
            async with self._async() as client:
                return await client.post(path, json=body, headers=headers)

        return asyncio.run(one())

    def post_and_leave(self, path: str) -> bytes:
        """Read the first chunk of a stream and close it."""
        if not self._is_async:
            with self._sync() as client, client.stream("POST", path) as answer:
                read: bytes = next(answer.iter_raw())
                return read

        async def one() -> bytes:
            async with self._async() as client, client.stream("POST", path) as answer:
                chunks = answer.aiter_raw()
                first: bytes = await anext(chunks)
                await chunks.aclose()
                return first

        return asyncio.run(one())

    def post_and_read_nothing(self, path: str) -> int:
        """Close an answer whose status is enough; that status."""
        if not self._is_async:
            with self._sync() as client, client.stream("POST", path) as answer:
                return int(answer.status_code)

        async def one() -> int:
            async with self._async() as client, client.stream("POST", path) as answer:
                return int(answer.status_code)

        return asyncio.run(one())

    def _sync(self) -> Any:
        transport = self._ours.UsageTransport(self._library.HTTPTransport(), **self._options)
        return self._library.Client(transport=transport, base_url=self._url)

    def _async(self) -> Any:
        around = self._library.AsyncHTTPTransport()
        transport = self._ours.AsyncUsageTransport(around, **self._options)
        return self._library.AsyncClient(transport=transport, base_url=self._url)

    @property
    def facts(self) -> tuple[int, bool, str, int]:
        (event,) = self.recorder.events
        return event.status_code, event.failed, event.usage_quality, event.total_tokens

    @property
    def unrecorded(self) -> dict[str, int]:
        counted = self.recorder.counters.unrecorded.values()
        return {reason: n for reasons in counted for reason, n in reasons.items()}


def test_call_is_an_event_of_its_caller(client: Client) -> None:
    """The answer is what the provider sent; the event has who, which models, which try."""
    answer = client.post("/v1/chat", {"model": "auto"}, **{"x-stainless-retry-count": "1"})

    (event,) = client.recorder.events
    assert CHAT == answer.json()
    assert (200, False, "complete", 38) == client.facts
    assert ("u-ada", "auto", "m-1", HOST) == (
        event.user_id,
        event.requested_model,
        event.model,
        event.provider,
    )
    assert ("/v1/chat", "req-7", 2) == (event.endpoint, event.request_id, event.attempt)


def test_call_has_its_trace(client: Client) -> None:
    """What an instrumentation has put into the outgoing request's header is in the event."""
    client.post("/v1/chat", traceparent=f"00-{TRACE}-{SPAN}-01")

    (event,) = client.recorder.events
    assert {"trace_id": TRACE, "span_id": SPAN} == event.tags


def test_failed_call_is_a_failed_event(client: Client) -> None:
    """T-39: 429 and no tokens is one failed event of zero tokens."""
    client.post("/status/429")

    assert (429, True, "missing", 0) == client.facts
    assert {"failed": 1} == client.unrecorded


def test_call_that_reaches_nobody_is_a_failed_event(client: Client) -> None:
    """Without an answer there is no status; the error is the program's, unchanged."""
    client._url = f"http://{HOST}:{free_port()}"

    with pytest.raises((httpx.ConnectError, httpx2.ConnectError)):
        client.post("/v1/chat", {"model": "auto"})

    assert (0, True, "missing", 0) == client.facts


def test_answer_that_breaks_off_is_a_failed_event(client: Client) -> None:
    """The provider closed in the middle of its answer."""
    with pytest.raises((httpx.RemoteProtocolError, httpx2.RemoteProtocolError)):
        client.post("/breaks")

    assert (200, True, "missing", 0) == client.facts


def test_stream_that_the_program_leaves_is_cancelled(client: Client) -> None:
    """Closed after its first chunk, a stream did not fail and is counted as cancelled."""
    first = client.post_and_leave("/halves")

    assert json.dumps(CHAT).encode()[:9] == first
    assert (200, False, "missing", 0) == client.facts
    assert {"cancelled": 1} == client.unrecorded


def test_stream_that_the_program_never_reads_is_cancelled(client: Client) -> None:
    """Closed without a look at its body, it is an event all the same."""
    status = client.post_and_read_nothing("/halves")

    assert 200 == status
    assert (200, False, "missing", 0) == client.facts
    assert {"cancelled": 1} == client.unrecorded


def test_compressed_answer_reaches_the_program(client: Client) -> None:
    """httpx asks for compression: the program has its answer, and the call is one event."""
    answer = client.post("/gzip")

    assert CHAT == answer.json()
    assert [38] == [event.total_tokens for event in client.recorder.events]


@pytest.mark.parametrize("is_async", [False, True])
def test_caller_may_be_told_by_the_request(library: Any, url: str, is_async: bool) -> None:
    """A function of the request tells whom a call counts for, or that it counts for nobody."""

    def caller(request: httpx.Request | httpx2.Request) -> Caller | None:
        name = request.headers.get("x-tenant")
        return Caller(name) if name else None

    client = Client(library, url, is_async=is_async, caller=caller)

    client.post("/a", **{"x-tenant": "t-1"})
    client.post("/b")

    assert ["t-1"] == [event.user_id for event in client.recorder.events]
    assert {"/b": {"no_user": 1}} == client.recorder.counters.unrecorded


def test_body_from_a_stream_is_sent_as_it_is(library: Any, url: str) -> None:
    """A request whose body is a generator tells no model, and works."""
    client = Client(library, url, is_async=False)

    with client._sync() as session:
        answer = session.post("/v1/chat", content=iter([b'{"model": ', b'"auto"}']))

    assert 200 == answer.status_code
    assert "" == client.recorder.events[0].requested_model


def test_answer_that_a_transport_has_read_already_counts(library: Any) -> None:
    """Transports of caches and tests answer from memory."""
    recorder = MemoryRecorder()
    memory = library.MockTransport(lambda request: library.Response(200, json=CHAT))
    transport = OURS[library].UsageTransport(memory, recorder=recorder, caller=ADA)

    with library.Client(transport=transport) as client:
        client.post("http://provider/v1/chat")

    assert [38] == [event.total_tokens for event in recorder.events]


def test_compressed_answer_that_a_transport_has_read_already_counts() -> None:
    """Retries, caches and logging read answers before they hand them on: they are unpacked then."""
    recorder = MemoryRecorder()

    class Reading(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            packed = gzip.compress(json.dumps(CHAT).encode())
            headers = {"content-type": "application/json", "content-encoding": "gzip"}
            answer = httpx.Response(200, headers=headers, content=packed)
            answer.read()
            return answer

    transport = for_httpx.UsageTransport(Reading(), recorder=recorder, caller=ADA)
    with httpx.Client(transport=transport) as client:
        client.post("http://provider/v1/chat")

    assert [38] == [event.total_tokens for event in recorder.events]


def test_trace_that_the_inner_transport_adds_counts() -> None:
    """Instrumentations of httpx write the header when the request leaves, inside of ours."""
    recorder = MemoryRecorder()

    def instrumented(request: httpx.Request) -> httpx.Response:
        request.headers["traceparent"] = f"00-{TRACE}-{SPAN}-01"
        return httpx.Response(200, json=CHAT)

    transport = for_httpx.UsageTransport(
        httpx.MockTransport(instrumented), recorder=recorder, caller=ADA
    )
    with httpx.Client(transport=transport) as client:
        client.post("http://provider/v1/chat")

    assert [{"trace_id": TRACE, "span_id": SPAN}] == [event.tags for event in recorder.events]


@pytest.mark.parametrize(
    ("ours", "theirs"), [(for_httpx, httpx2), (for_httpx2, httpx)], ids=["httpx2", "httpx"]
)
def test_transport_of_the_other_library_is_refused(ours: Any, theirs: Any) -> None:
    """Their clients take no stream of the other's: told when it is made, not by each request."""
    options = {"recorder": MemoryRecorder(), "caller": ADA}

    with pytest.raises(TypeError, match=f"not one of {theirs.__name__}"):
        ours.UsageTransport(theirs.HTTPTransport(), **options)
    with pytest.raises(TypeError, match=f"not one of {theirs.__name__}"):
        ours.AsyncUsageTransport(theirs.AsyncHTTPTransport(), **options)


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
    """A call of a task that a request left running is no part of that request: it is recorded."""
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
    """A handler that sends many large requests holds what their events tell, not what was sent."""
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

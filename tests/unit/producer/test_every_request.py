"""Each request to a model is an event: failed ones, cancelled ones, those without usage."""

import asyncio
import json
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from tests.unit.producer.watched import CHAT, PATH, Bench, answering, nothing, run, swallow
from usagepipe.producer import Caller, stamp_usage
from usagepipe.producer.asgi import App, Message, Receive, Scope, Send
from usagepipe.producer.testing import MemoryRecorder

STREAM = [("content-type", "text/event-stream")]
OVERLOADED = {"error": {"message": "overloaded"}}


def post(path: str = PATH, headers: list[tuple[bytes, bytes]] | None = None) -> Scope:
    """The scope of a POST."""
    return {"type": "http", "method": "POST", "path": path, "headers": headers or []}


def facts(bench: Bench) -> tuple[int, bool, str, int]:
    """Status, failed, quality and tokens of the one event."""
    event = bench.event
    return event.status_code, event.failed, event.usage_quality, event.total_tokens


def test_failed_request_without_tokens_is_one_failed_event() -> None:
    """T-39: a POST that failed with 429 and no tokens is one request and one failure of zero
    tokens, and is counted as `failed`."""
    bench = Bench(answering(OVERLOADED, status=429))

    bench.post()

    assert (429, True, "missing", 0) == facts(bench)
    assert {"failed": 1} == bench.unrecorded


def test_failed_request_keeps_its_tokens() -> None:
    """T-04: a status of 500 with usage is a failed event with these tokens, nothing more."""
    bench = Bench(answering(CHAT, status=500))

    bench.post()

    assert (500, True, "complete", 38) == facts(bench)
    assert {} == bench.unrecorded


def test_stream_without_usage_is_one_flagged_event() -> None:
    """T-40: a stream that never tells usage is exactly one event of zero tokens, flagged."""
    bench = Bench(answering(b'data: {"choices": []}\n\ndata: [DONE]\n\n', headers=STREAM))

    bench.post()

    assert (200, False, "missing", 0) == facts(bench)
    assert bench.event.streaming
    assert 1 == sum(bench.unrecorded.values())


def test_answer_without_usage_is_an_event_of_no_tokens() -> None:
    """T-07: JSON without usage counts no token: a flagged event of zero, one `no_usage`, and the
    client's body as it was."""
    raw = b'{"id": 1,\n  "usage" : null}'
    bench = Bench(answering(raw))

    answer = bench.post()

    assert raw == answer.content
    assert (200, False, "missing", 0) == facts(bench)
    assert {"no_usage": 1} == bench.unrecorded


def test_nobody_without_tokens_is_counted_once() -> None:
    """T-06: of a failed request that nobody is known for there is no event and one count."""
    bench = Bench(answering(OVERLOADED, status=401), identify=lambda scope: None)

    bench.post()

    assert [] == bench.recorder.events
    assert {"failed": 1} == bench.unrecorded


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("GET", [("content-type", "application/json")], b'{"status": "ok"}', 200),
        ("HEAD", [("content-type", "application/json")], b"", 200),
        ("OPTIONS", [("content-type", "application/json")], b"{}", 200),
        ("GET", [("content-type", "application/json")], b"{}", 404),
        ("POST", [("content-type", "text/html")], b"<p>saved</p>", 200),
        ("POST", [], b"", 204),
        ("POST", [("location", "/")], b"", 303),
    ],
)
def test_what_is_no_request_to_a_model_is_no_event(
    method: str, headers: list[tuple[str, str]], body: bytes, status: int
) -> None:
    """Health checks, pages, preflights and redirects are counted and make no event."""
    bench = Bench(answering(body, headers=headers, status=status))

    bench.ask(method, "/some/path")

    assert [] == bench.recorder.events
    assert 1 == sum(bench.unrecorded.values())


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/problem+json",
        "application/vnd.amazon.eventstream",
        "application/x-ndjson",
        "audio/mpeg",
        "Image/PNG",
        "text/event-stream; charset=utf-8",
    ],
)
def test_answers_as_models_give_are_events(content_type: str) -> None:
    """A POST answered by JSON, a stream, sound or a picture is an event even without usage."""
    bench = Bench(answering(b"?", headers=[("content-type", content_type)]))

    bench.post()

    assert "missing" == bench.event.usage_quality


def test_request_that_named_a_model_is_an_event_whatever_the_answer() -> None:
    """A POST with a model in its body was one to a model: a text answer is an event too."""
    bench = Bench(reading(answering(b"Hello", headers=[("content-type", "text/plain")])))

    bench.post(body={"model": "whisper-1"})

    assert ("whisper-1", "missing") == (bench.event.requested_model, bench.event.usage_quality)


def test_stamp_without_tokens_makes_any_request_an_event() -> None:
    """A handler that stamps says that this was a request to a model, be it a GET."""
    bench = Bench(answering(b"hi", headers=[], before=lambda: stamp_usage("m")))

    bench.get()

    assert ("m", "missing") == (bench.event.model, bench.event.usage_quality)


@pytest.mark.parametrize("kinds", ["", "failed", "cancelled", "missing", "failed, missing"])
def test_the_setting_chooses_the_kinds(kinds: str) -> None:
    """`USAGEPIPE_RECORD` says which requests without tokens become events; all are counted."""
    recorder = MemoryRecorder(record=kinds)

    Bench(answering(OVERLOADED, status=503), recorder=recorder).post("/failed")
    Bench(answering({}), recorder=recorder).post("/missing")
    leave(Bench(endless(), recorder=recorder), path="/cancelled")

    wanted = {f"/{kind.strip()}" for kind in kinds.split(",") if kind}
    assert wanted == {event.endpoint for event in recorder.events}
    assert {"/failed", "/missing", "/cancelled"} == set(recorder.counters.unrecorded)


@pytest.mark.parametrize("kinds", ["", "failed,cancelled,missing"])
def test_known_tokens_are_always_recorded(kinds: str) -> None:
    """No setting leaves out tokens that are known: of a failed request, of a cancelled one."""
    recorder = MemoryRecorder(record=kinds)

    Bench(answering(CHAT, status=500), recorder=recorder).post()
    leave(Bench(endless(stamp=True), recorder=recorder))

    assert [38, 14] == [event.total_tokens for event in recorder.events]


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


def test_client_that_leaves_a_stream_is_a_cancelled_event() -> None:
    """A stream that its client left has the status that was sent, and did not fail."""
    bench = Bench(endless())

    leave(bench)

    assert (200, False, "missing", 0) == facts(bench)
    assert {"cancelled": 1} == bench.unrecorded


def test_what_was_stamped_before_the_client_left_is_partial() -> None:
    """Tokens told before the end of a stream that was left may not be all: the event says so."""
    bench = Bench(endless(stamp=True))

    leave(bench)

    assert (200, False, "partial", 14) == facts(bench)
    assert {} == bench.unrecorded


def test_stamp_may_say_that_it_is_complete_all_the_same() -> None:
    """A handler that knows the final count of a stream that was left is believed."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage("m", 9, 5, usage_quality="complete")
        await endless()(scope, receive, send)

    bench = Bench(app)

    leave(bench)

    assert (200, False, "complete", 14) == facts(bench)


def test_client_that_waits_for_no_answer_has_no_status() -> None:
    """Where the client leaves before the answer begins no status was sent: it is 0."""
    bench = Bench(endless(begun=False))

    leave(bench)

    assert (0, False, "missing", 0) == facts(bench)


def test_cancelled_task_is_a_cancelled_request() -> None:
    """Some servers cancel the task of a request whose client has left."""
    entered = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        entered.set()
        await asyncio.sleep(60)

    bench = Bench(app)

    async def main() -> None:
        task = asyncio.create_task(run(bench.app, post()))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert {"cancelled": 1} == bench.unrecorded
    assert (200, False, "missing", 0) == facts(bench)


def test_async_identify_of_a_cancelled_request_is_heard_out() -> None:
    """The look-up of the caller goes on when the request is cancelled meanwhile: its tokens
    were used."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def identify(scope: Scope) -> Caller:
        asked.set()
        await answer.wait()
        return Caller("u-late")

    bench = Bench(answering(CHAT), identify=identify)

    async def main() -> None:
        task = asyncio.create_task(run(bench.app, post()))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        answer.set()
        while not bench.recorder.events:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 10))

    assert ("u-late", 38) == (bench.event.user_id, bench.event.total_tokens)


def test_async_identify_is_heard_out_where_every_await_is_cancelled() -> None:
    """In a cancelled scope of anyio (Starlette's task groups) each await is cancelled anew, also
    that for the caller."""

    async def identify(scope: Scope) -> Caller:
        await asyncio.sleep(0)
        return Caller("u-late")

    async def main() -> None:
        with anyio.CancelScope() as outer:

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                stamp_usage("m", 9, 5)
                outer.cancel()
                await anyio.sleep(60)

            bench.app.app = app
            await run(bench.app, post())
        while not bench.recorder.events:
            await asyncio.sleep(0)

    bench = Bench(answering({}), identify=identify)

    asyncio.run(asyncio.wait_for(main(), 10))

    assert (0, False, "partial", 14) == facts(bench)


def test_async_identify_needs_no_asyncio() -> None:
    """Another event loop than asyncio's has no tasks of ours: the look-up is awaited in place."""

    async def identify(scope: Scope) -> Caller:
        return Caller("u-trio")

    bench = Bench(answering(CHAT), identify=identify)

    with pytest.raises(StopIteration):  # the end of a coroutine that no loop drives
        run(bench.app, post()).send(None)

    assert ("u-trio", 38) == (bench.event.user_id, bench.event.total_tokens)


def test_shutdown_waits_for_callers_that_are_looked_up() -> None:
    """What is being looked up at the server's shutdown is recorded before the recorder stops."""
    answer = asyncio.Event()
    seen_at_stop: list[int] = []

    class Noting(MemoryRecorder):
        def stop(self) -> int:
            seen_at_stop.append(len(self.events))
            return 0

    async def identify(scope: Scope) -> Caller:
        await answer.wait()
        return Caller("u-late")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await answering(CHAT)(scope, receive, send)

    bench = Bench(app, identify=identify, recorder=Noting())

    async def main() -> None:
        request = asyncio.create_task(run(bench.app, post()))
        await asyncio.sleep(0)
        shutdown = asyncio.create_task(run(bench.app, {"type": "lifespan"}))
        asyncio.get_running_loop().call_soon(answer.set)
        await asyncio.gather(request, shutdown)

    asyncio.run(main())

    assert [1] == seen_at_stop


def test_send_that_fails_is_a_client_that_left() -> None:
    """From ASGI 2.4 on, sending to a client that has gone raises OSError."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})

    async def gone(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the client has gone")

    bench = Bench(app)

    with pytest.raises(OSError, match="the client has gone"):
        asyncio.run(bench.app(post(), nothing, gone))

    assert (200, False, "missing", 0) == facts(bench)
    assert {"cancelled": 1} == bench.unrecorded


def test_raise_in_the_middle_of_a_stream_is_a_failure() -> None:
    """A stream that the application broke off by an error failed, though its status was 200."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage("m", 9, 5)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise RuntimeError("the model is gone")

    bench = Bench(app)

    with pytest.raises(RuntimeError, match="the model is gone"):
        asyncio.run(bench.app(post(), hanging, swallow))

    assert (200, True, "partial", 14) == facts(bench)


async def hanging() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_disconnect_after_the_last_chunk_is_none() -> None:
    """Servers report the end of the connection after each answer: that is no cancellation."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(CHAT)(scope, receive, send)
        assert "http.disconnect" == (await receive())["type"]

    bench = Bench(app)

    leave(bench)

    assert (200, False, "complete", 38) == facts(bench)


def test_disconnect_that_is_told_while_the_last_chunk_is_sent_is_none() -> None:
    """A server may report the end of the connection before its `send` of the last chunk returns:
    the answer is complete."""
    over, heard = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        listening = asyncio.create_task(listen(receive))
        await answering(CHAT)(scope, receive, send)
        await listening

    async def listen(receive: Receive) -> None:
        await receive()
        heard.set()

    async def receive() -> Message:
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            over.set()
            await heard.wait()

    bench = Bench(app)

    asyncio.run(bench.app(post(), receive, send))

    assert (200, False, "complete", 38) == facts(bench)


def test_error_after_the_last_chunk_fails_no_request() -> None:
    """The client has its whole answer: a background task that raises afterwards changes nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(CHAT)(scope, receive, send)
        raise RuntimeError("the background task's own")

    bench = Bench(app)

    bench.post()

    assert (200, False, "complete", 38) == facts(bench)


@pytest.mark.parametrize(
    ("options", "watched"),
    [
        ({}, {"/v1", "/v1/chat", "/v1x", "/health"}),
        ({"paths": ["/v1"]}, {"/v1", "/v1/chat"}),
        ({"paths": ["/v1/"]}, {"/v1", "/v1/chat"}),
        ({"skip": ("/health", "/v1/chat")}, {"/v1", "/v1x"}),
        ({"paths": ("/v1",), "skip": ("/v1/chat",)}, {"/v1"}),
        ({"paths": lambda method, path: path.endswith("x")}, {"/v1x"}),
        ({"skip": lambda method, path: method == "POST"}, set()),
        ({"skip": lambda method, path: 1 / 0}, {"/v1", "/v1/chat", "/v1x", "/health"}),
    ],
)
def test_paths_choose_what_is_watched(options: dict[str, Any], watched: set[str]) -> None:
    """`paths` and `skip` are prefixes of whole segments, or functions; what they leave out is
    passed on, neither recorded nor counted. A function that raises leaves out nothing."""
    recorder = MemoryRecorder()
    bench = Bench(answering({}), recorder=recorder, **options)

    for path in ("/v1", "/v1/chat", "/v1x", "/health"):
        bench.post(path)

    assert watched == {event.endpoint for event in recorder.events}
    assert watched == set(recorder.counters.unrecorded)


def test_one_text_is_no_list_of_paths() -> None:
    """A string where several prefixes belong would be its letters: it is refused at once."""
    with pytest.raises(TypeError, match=r"write \('/v1',\)"):
        Bench(answering({}), paths="/v1")


@pytest.mark.parametrize(
    ("headers", "attempt"),
    [
        ({}, 1),
        ({"x-stainless-retry-count": "0"}, 1),
        ({"x-stainless-retry-count": "2"}, 3),
        ({"x-stainless-retry-count": "99999"}, 65_535),
        ({"x-stainless-retry-count": "-1"}, 1),
        ({"x-stainless-retry-count": "many"}, 1),
        ({"x-stainless-retry-count": "9" * 5_000}, 1),
        ({"x-stainless-retry-count": "²"}, 1),
    ],
)
def test_retries_are_attempts(headers: dict[str, str], attempt: int) -> None:
    """The count of retries that clients send makes the attempt; nonsense is a first one."""
    bench = Bench(answering(CHAT))
    encoded = [(k.encode(), v.encode()) for k, v in headers.items()]

    asyncio.run(run(bench.app, post(headers=encoded)))

    assert attempt == bench.event.attempt


def test_retries_share_the_id_of_their_request() -> None:
    """Without a correlation id the idempotency key, which a client repeats, is the request's."""
    recorder = MemoryRecorder()
    bench = Bench(answering(CHAT), recorder=recorder, attempt_header="X-Try")

    for retries in ("0", "1"):
        bench.post(**{"idempotency-key": "key-7", "x-try": retries})

    assert [("key-7", 1), ("key-7", 2)] == [(e.request_id, e.attempt) for e in recorder.events]


def test_stamped_attempt_wins() -> None:
    """A handler that retries by itself knows better."""
    bench = Bench(answering(CHAT, before=lambda: stamp_usage(request_id="r", attempt=4)))

    bench.post(**{"x-stainless-retry-count": "1", "x-correlation-id": "c"})

    assert ("r", 4) == (bench.event.request_id, bench.event.attempt)


def test_requested_model_is_what_the_body_asked_for() -> None:
    """T-05: `auto` in the request, `qwen-7b` in the answer: the event has both."""
    bench = Bench(reading(answering(CHAT)))

    bench.post(body={"messages": [{"model": "not this"}], "model": "auto"})

    assert ("auto", "qwen-7b") == (bench.event.requested_model, bench.event.model)


def test_model_of_a_stamp_wins_over_the_body() -> None:
    """T-05: what the handler stamps of models stands, whatever request and answer say."""
    bench = Bench(
        reading(answering(CHAT, before=lambda: stamp_usage("served", requested_model="asked")))
    )

    bench.post(body={"model": "auto"})

    assert ("asked", "served") == (bench.event.requested_model, bench.event.model)


def test_served_model_is_the_answers_where_a_stamp_has_none() -> None:
    """Tokens from the stamp, the model from the answer."""
    bench = Bench(answering(CHAT, before=lambda: stamp_usage(None, 9, 5)))

    bench.post()

    assert ("qwen-7b", 9, 5, 14) == (bench.event.model, *bench.tokens)


def test_stream_that_was_asked_for_and_never_came_was_one() -> None:
    """A request for a stream that got no answer counts as streaming."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise RuntimeError

    bench = Bench(app)

    bench.post(body={"model": "m", "stream": True})

    assert (True, 500, "m") == (
        bench.event.streaming,
        bench.event.status_code,
        bench.event.requested_model,
    )


def test_filters_tokens_are_kept() -> None:
    """What a gateway's filters took from a prompt is in the event: before and after."""

    def stamp() -> None:
        stamp_usage(pre_filter_prompt_tokens=40, post_filter_prompt_tokens=31)

    bench = Bench(answering(CHAT, before=stamp))

    bench.post()

    event = bench.event
    assert (40, 31) == (event.pre_filter_prompt_tokens, event.post_filter_prompt_tokens)


def test_time_to_first_token_is_of_streams_only() -> None:
    """A stream has a time to its first byte; a JSON answer has none."""
    recorder = MemoryRecorder()

    Bench(answering(b"data: 1\n\n", headers=STREAM), recorder=recorder).post()
    Bench(answering(CHAT), recorder=recorder).post()

    stream, whole = recorder.events
    assert 0 <= (stream.ttft_ms or 0) <= stream.duration_ms
    assert (True, False) == (stream.ttft_ms is not None, whole.ttft_ms is not None)


def test_memory_that_is_used_again_is_read_in_time() -> None:
    """A chunk may be a view of a buffer that the next chunk overwrites."""
    buffer = bytearray(4)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        raw = json.dumps(CHAT).encode()
        for start in range(0, len(raw), 4):
            chunk = raw[start : start + 4]
            buffer[: len(chunk)] = chunk
            view = memoryview(buffer)[: len(chunk)]
            await send({"type": "http.response.body", "body": view, "more_body": True})
        await send({"type": "http.response.body"})

    bench = Bench(app)

    asyncio.run(run(bench.app, post()))

    assert (200, False, "complete", 38) == facts(bench)


def test_fault_in_the_notes_is_counted_and_the_request_is_an_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When reading an answer fails in an unforeseen way its client notices nothing; the log tells
    the place, and the request is an event whose tokens are missing."""

    def broken(self: object, chunk: bytes) -> None:
        raise RuntimeError("sk-secret-in-the-text")

    monkeypatch.setattr("usagepipe.producer.answers.AnswerReader.feed", broken)
    bench = Bench(answering(CHAT))

    with capture_logs() as logs:
        answer = bench.post()

    assert CHAT == answer.json()
    assert (200, False, "missing", 0) == facts(bench)
    assert {"record_failed": 1} == bench.unrecorded
    assert "RuntimeError at test_every_request.py" in logs[0]["detail"]
    assert "sk-secret" not in str(logs)

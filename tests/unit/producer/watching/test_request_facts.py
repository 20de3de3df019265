"""What an event holds about its request: attempt, models, streaming, times, and faults."""

import asyncio
import json

import pytest

from tests.support.logs import capture_logs
from tests.support.watched import (
    CHAT,
    STREAM,
    Bench,
    answering,
    facts,
    post,
    reading,
    run,
)
from usagepipe.producer import stamp_usage
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import Receive, Scope, Send


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
    """T-05: the models of a stamp win over those of request and answer."""
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
    """An unforeseen failure while reading an answer does not reach the client; the log names
    the place, and the request is an event whose tokens are missing."""

    def broken(self: object, chunk: bytes) -> None:
        raise RuntimeError("sk-secret-in-the-text")

    monkeypatch.setattr("usagepipe.producer.reading.answers.AnswerReader.feed", broken)
    bench = Bench(answering(CHAT))

    with capture_logs() as logs:
        answer = bench.post()

    assert CHAT == answer.json()
    assert (200, False, "missing", 0) == facts(bench)
    assert {"record_failed": 1} == bench.unrecorded
    assert "RuntimeError at test_request_facts.py" in logs[0]["detail"]
    assert "sk-secret" not in str(logs)

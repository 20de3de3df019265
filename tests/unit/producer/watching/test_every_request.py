"""Each request to a model is an event, and which requests those are."""

import asyncio
from typing import Any

import pytest

from tests.support.logs import capture_logs
from tests.support.watched import (
    CHAT,
    OVERLOADED,
    STREAM,
    Bench,
    answering,
    endless,
    facts,
    leave,
    reading,
)
from usagepipe.producer import stamp_usage
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import App, Message


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
    """T-40: a stream without usage is exactly one event of zero tokens, flagged."""
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


def test_stream_without_usage_keeps_the_model_that_it_named() -> None:
    """A stream that was never asked for its usage has no tokens, yet the model is known."""
    chunk = b'data: {"model": "gpt-2024", "choices": [{"delta": {"content": "Hi"}}]}\n\n'
    bench = Bench(answering(chunk * 3 + b"data: [DONE]\n\n", headers=STREAM))

    bench.post()

    assert ("gpt-2024", "missing") == (bench.event.model, bench.event.usage_quality)


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


@pytest.mark.parametrize(
    "path",
    ["/v1/files/../chat", "/v1//files/../chat", "/./v1/chat", "/x/../v1/chat", "//v1/chat"],
)
def test_detour_is_no_way_around_the_choice(path: str) -> None:
    """A path that a gateway's client would shorten is looked at as it was sent and as shortened:
    what either means to be watched is."""
    recorder = MemoryRecorder()
    bench = Bench(answering(CHAT), recorder=recorder, paths=("/v1",), skip=("/v1/files",))

    request(bench.app, path)

    assert [38] == [event.total_tokens for event in recorder.events]


def request(app: App, path: str) -> None:
    """One POST to exactly this path: httpx would shorten it."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None: ...

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}

    async def one() -> None:
        await app(scope, receive, send)

    asyncio.run(one())


def test_choice_that_raises_is_reported_once() -> None:
    """The log names type and place of the error once, not at every request, and never its text."""

    def choose(method: str, path: str) -> bool:
        raise ValueError("sk-secret-in-the-text")

    bench = Bench(answering({}), paths=choose)

    with capture_logs() as logs:
        bench.post()
        bench.post()

    assert ["selection_failed"] == [entry["event"] for entry in logs]
    assert "ValueError at test_every_request.py" in logs[0]["error"]
    assert "sk-secret" not in str(logs)


def test_one_text_is_no_list_of_paths() -> None:
    """A string where several prefixes belong would be its letters: it is refused at once."""
    with pytest.raises(TypeError, match=r"write \('/v1',\)"):
        Bench(answering({}), paths="/v1")

"""The event that the middleware makes of a request and its answer."""

import asyncio
import json
from decimal import Decimal

import pytest

from tests.support.logs import capture_logs
from tests.support.watched import CHAT, Bench, answering, run
from usagepipe.producer import Caller, stamp_usage
from usagepipe.producer.watching.asgi import Message


def test_json_body_makes_the_event() -> None:
    """T-02: without a report, the usage of the JSON body counts, and its total is the sum."""
    bench = Bench(answering(CHAT))

    answer = bench.get()

    assert (31, 7, 38) == bench.tokens
    assert CHAT == answer.json()


def test_anthropic_body_makes_the_event() -> None:
    """T-03: an Anthropic body of 15 in and 7 out is 15/7/22."""
    body = {"type": "message", "model": "claude", "usage": {"input_tokens": 15, "output_tokens": 7}}
    bench = Bench(answering(body))

    bench.get()

    assert (15, 7, 22) == bench.tokens


def test_failed_answer_with_usage_is_a_failed_event() -> None:
    """T-04: a status of 500 with a usage body makes an event that says it failed."""
    bench = Bench(answering(CHAT, status=500))

    bench.get()

    assert (True, 500) == (bench.event.failed, bench.event.status_code)
    assert (31, 7, 38) == bench.tokens


def test_failed_answer_without_usage_is_counted_as_failed() -> None:
    """T-04: a status of 500 without usage makes no event and one count."""
    bench = Bench(answering({"error": {"message": "overloaded"}}, status=500))

    bench.get()

    assert [] == bench.recorder.events
    assert {"failed": 1} == bench.unrecorded


def test_requested_and_served_model_are_both_kept() -> None:
    """T-05: `auto` asked for, `qwen-7b` served: the event has both, the model is the served one."""
    bench = Bench(answering(CHAT, before=lambda: stamp_usage(requested_model="auto")))

    bench.get()

    assert ("auto", "qwen-7b") == (bench.event.requested_model, bench.event.model)
    assert (31, 7, 38) == bench.tokens


def test_answer_without_usage_is_counted_and_untouched() -> None:
    """T-07: JSON without usage makes no event, one `no_usage`, and reaches the client as it was."""
    raw = b'{"id": 1,\n  "usage" : null}'
    bench = Bench(answering(raw))

    answer = bench.get()

    assert raw == answer.content
    assert [] == bench.recorder.events
    assert {"no_usage": 1} == bench.unrecorded


def test_responses_body_is_not_taken_for_a_bare_total() -> None:
    """T-10: a Responses body of 328/1052/1380 keeps all three numbers."""
    usage = {"input_tokens": 328, "output_tokens": 1052, "total_tokens": 1380}
    bench = Bench(answering({"object": "response", "model": "gpt-5", "usage": usage}))

    bench.get()

    assert (328, 1052, 1380) == bench.tokens


def test_correlation_id_is_taken_from_the_answer() -> None:
    """T-11: a correlation id from the response header alone is in the event."""
    headers = [("Content-Type", "application/json"), ("X-Correlation-ID", "corr-7")]
    bench = Bench(answering(CHAT, headers=headers))

    bench.get()

    assert "corr-7" == bench.event.request_id


def test_correlation_id_is_else_taken_from_the_request() -> None:
    """Without one in the answer, the request's correlation id counts."""
    bench = Bench(answering(CHAT))

    bench.get(**{"x-correlation-id": "corr-8"})

    assert "corr-8" == bench.event.request_id


def test_overlong_correlation_id_does_not_cost_the_event() -> None:
    """A client cannot escape the count by sending an id that the contract refuses."""
    bench = Bench(answering(CHAT))

    bench.get(**{"x-correlation-id": "c" * 300})

    assert "" == bench.event.request_id
    assert (31, 7, 38) == bench.tokens


def test_event_tells_the_caller_and_the_course() -> None:
    """Who called, how the caller came in, the path without its query, and the status are kept."""
    bench = Bench(answering(CHAT), provider="openai")

    bench.get("/v1/chat/completions?key=sk-not-for-the-event")

    event = bench.event
    assert ("u-alice", "Alice", "k-1", "laptop") == (
        event.user_id,
        event.user_name,
        event.api_key_id,
        event.api_key_name,
    )
    assert ("apikey", "t-1", "openai") == (event.source, event.team_id, event.provider)
    assert ("/v1/chat/completions", 200) == (event.endpoint, event.status_code)
    assert "sk-not" not in event.model_dump_json()


def test_tag_of_a_strangers_text_costs_no_tokens() -> None:
    """Too long a tag is cut, and what UTF-8 cannot carry is replaced."""
    tags = {"end_user": "x" * 3_000, "name": "\ud800", "k" * 200: "v"}
    bench = Bench(answering(CHAT, before=lambda: stamp_usage(tags=tags)))

    bench.get()

    assert {"end_user": "x" * 2_048, "name": "?", "k" * 128: "v"} == bench.event.tags
    assert 38 == bench.event.total_tokens


def test_invalid_event_is_told_by_field_and_never_by_value() -> None:
    """An event that breaks the contract is counted, and the log names the fields alone."""
    bench = Bench(
        answering({}, before=lambda: stamp_usage("m", -5, cost=Decimal("NaN"))),
        identify=lambda scope: Caller("u" * 1000),
    )

    with capture_logs() as logs:
        bench.get()

    assert {"invalid": 1} == bench.unrecorded
    assert "cost, prompt_tokens, total_tokens, user_id" == logs[0]["detail"]
    assert "uuu" not in str(logs)


def test_long_names_are_clipped_and_costnothing() -> None:
    """Display names, paths and model names are cut to the contract's length."""
    body = {"model": "m" * 300, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    bench = Bench(answering(body), identify=lambda scope: Caller("u", "N\ud800" + "n" * 600))

    bench.get("/" + "p" * 600)

    event = bench.event
    assert (512, 512, 256) == (len(event.user_name), len(event.endpoint), len(event.model))


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ([("content-type", "application/json")], b'{"usage": {"prompt', "parse_failed"),
        ([("content-type", "application/json")], b"not json", "parse_failed"),
        ([("content-type", "application/json")], b"[" * 5_000, "parse_failed"),
        ([("content-type", "application/json")], b"", "no_usage"),
        ([("content-type", "application/json")], b"[1]", "no_usage"),
        ([("content-type", "application/json")], b'"usage"', "no_usage"),
        ([("content-type", "text/html")], json.dumps(CHAT).encode(), "no_usage"),
        ([], b"<html>", "no_usage"),
        ([("content-type", "text/event-stream")], b"data: {}\n\n", "no_usage"),
        ([("content-type", "application/json"), ("content-encoding", "rot13")], b"x", "compressed"),
        ([("content-type", "application/json")], b" " * 9_000, "no_usage"),
    ],
)
def test_unreadable_answer_is_counted_by_reason(
    headers: list[tuple[str, str]], body: bytes, reason: str
) -> None:
    """Each kind of answer that cannot be read has its own count, and its bytes pass untouched."""
    sent: list[Message] = []
    bench = Bench(answering(body, headers=headers), max_body_kilobytes=8)

    asyncio.run(run(bench.app, {"type": "http", "path": "/x", "headers": []}, sent))

    assert body == sent[1]["body"]
    assert {reason: 1} == bench.unrecorded
    assert [] == bench.recorder.events


@pytest.mark.parametrize(
    "content_type",
    ["Application/JSON; charset=utf-8", "application/vnd.api+json", " application/json ;x=y", ""],
)
def test_content_type_is_compared_loosely(content_type: str) -> None:
    """Case and parameters do not matter; without a type, the first byte decides."""
    bench = Bench(answering(CHAT, headers=[("Content-Type", content_type)]))

    bench.get()

    assert (31, 7, 38) == bench.tokens

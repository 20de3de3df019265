"""Another model inside an answer is an event of its own, whichever way the request is watched."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.support.watched import ALICE, STREAM, Bench, answering
from tests.support.wsgi_server import Server
from tests.support.wsgi_server import answering as answering_wsgi
from usagepipe.producer import stamp_usage
from usagepipe.producer.httpx import UsageTransport
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.schemas.event import UsageEvent

PATH = "/v1/messages"


def run(kind: str, fresh: int, out: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": fresh, "output_tokens": out, **more}


RUNS = [
    run("message", 1_128, 110),
    run("advisor_message", 2_518, 22, model="claude-opus-4-8", cache_read_input_tokens=100),
    run("message", 1_262, 11),
    run("advisor_message", 7, 5, model="claude-opus-4-8"),
]
USAGE = {"input_tokens": 2_390, "output_tokens": 121, "service_tier": "standard"}
ANSWER = {"type": "message", "model": "claude-sonnet-5", "usage": {**USAGE, "iterations": RUNS}}
MESSAGE = {"id": "msg_1", "model": "claude-sonnet-5", "usage": {"input_tokens": 1_128}}
EVENTS = [
    {"type": "message_start", "message": MESSAGE},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 121, "iterations": RUNS},
    },
    {"type": "message_stop"},
]
BODIES = {
    "JSON": (json.dumps(ANSWER).encode(), "application/json"),
    "stream": (
        b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in EVENTS),
        "text/event-stream",
    ),
}
MODELS = [
    (0, "claude-sonnet-5", 2_390, 121, 0),
    (1, "claude-opus-4-8", 2_618, 22, 100),
    (2, "claude-opus-4-8", 7, 5, 0),
]


def by_asgi(body: bytes, kind: str) -> list[UsageEvent]:
    bench = Bench(answering(body, headers=[("content-type", kind)]))
    bench.post(PATH, **{"x-correlation-id": "c-1"})
    return bench.recorder.events


def by_wsgi(body: bytes, kind: str) -> list[UsageEvent]:
    server = Server(answering_wsgi(body, headers=[("Content-Type", kind)]))
    server.ask(PATH, HTTP_X_CORRELATION_ID="c-1")
    return server.recorder.events


def call(recorder: MemoryRecorder, body: bytes, kind: str) -> None:
    headers = {"content-type": kind, "x-request-id": "c-1"}
    inner = httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, content=body))
    with httpx.Client(transport=UsageTransport(inner, recorder=recorder, caller=ALICE)) as client:
        client.post(f"http://provider{PATH}")


def by_httpx(body: bytes, kind: str) -> list[UsageEvent]:
    recorder = MemoryRecorder()
    call(recorder, body, kind)
    return recorder.events


def by_httpx_in_a_request(body: bytes, kind: str) -> list[UsageEvent]:
    """The call waits for the end of the request that it was made for, which has no tokens."""
    recorder = MemoryRecorder()
    Bench(answering({"ok": True}, before=lambda: call(recorder, body, kind))).post(PATH)
    return recorder.events


WAYS: dict[str, Callable[[bytes, str], list[UsageEvent]]] = {
    "ASGI": by_asgi,
    "WSGI": by_wsgi,
    "httpx": by_httpx,
    "httpx in a request": by_httpx_in_a_request,
}


@pytest.mark.parametrize(("body", "kind"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("watch", WAYS.values(), ids=WAYS)
def test_each_call_of_another_model_is_an_event(
    watch: Callable[[bytes, str], list[UsageEvent]], body: bytes, kind: str
) -> None:
    """The request has its own tokens alone; each advice follows it with its model and tokens."""
    events = watch(body, kind)

    assert MODELS == [
        (e.part, e.model, e.prompt_tokens, e.completion_tokens, e.cached_tokens) for e in events
    ]
    assert 3 == len({event.event_id for event in events})
    assert {(PATH, "c-1", 1, "u-alice", "k-1", "complete", False)} == {
        (
            e.endpoint,
            e.request_id,
            e.attempt,
            e.user_id,
            e.api_key_id,
            e.usage_quality,
            e.failed,
        )
        for e in events
    }
    assert all(e.total_tokens == e.prompt_tokens + e.completion_tokens for e in events)


def test_time_and_failure_belong_to_the_request() -> None:
    """A stream that failed at its end: its parts did not fail, and have no duration."""
    error = b'data: {"type": "error", "error": {"type": "overloaded_error"}}\n\n'
    body = BODIES["stream"][0] + error
    bench = Bench(answering(body, headers=STREAM))

    bench.get()

    request, *parts = bench.recorder.events
    assert request.failed
    assert request.ttft_ms is not None
    assert {(False, 0, None, True)} == {
        (part.failed, part.duration_ms, part.ttft_ms, part.streaming) for part in parts
    }


def test_reported_cost_covers_the_whole_request() -> None:
    """A gateway reports one cost, advice included: the parts cost nothing more."""
    answer = {**ANSWER, "usage": {**ANSWER["usage"], "cost": 0.25}}  # type: ignore[dict-item]
    bench = Bench(answering(answer))

    bench.get()

    assert [Decimal("0.25"), 0, 0] == [event.cost for event in bench.recorder.events]


def test_cost_of_a_part_is_unknown_like_that_of_its_request() -> None:
    """Null, never 0."""
    assert [None] * 3 == [event.cost for event in by_asgi(*BODIES["JSON"])]


def test_stamped_tokens_replace_those_of_all_parts() -> None:
    """A handler that stamps tokens stamps all of its request."""
    bench = Bench(answering(ANSWER, before=lambda: stamp_usage("m", 1, 2)))

    bench.get()

    assert (1, 2, 3) == bench.tokens


def test_other_stamped_fields_hold_for_parts_too() -> None:
    """The provider and tags are the request's; a stamped model is that of the request alone."""
    stamped = {"provider": "anthropic", "tags": {"a": "b"}, "pre_filter_prompt_tokens": 9}
    bench = Bench(answering(ANSWER, before=lambda: stamp_usage("alias", **stamped)))  # type: ignore[arg-type]

    bench.get()

    events = bench.recorder.events
    assert ["alias", "claude-opus-4-8", "claude-opus-4-8"] == [event.model for event in events]
    assert {("anthropic", "b")} == {(event.provider, event.tags["a"]) for event in events}
    assert [9, None, None] == [event.pre_filter_prompt_tokens for event in events]


def test_parts_of_a_request_of_nobody_are_not_recorded() -> None:
    """It is counted once."""
    bench = Bench(answering(ANSWER), identify=lambda scope: None)

    bench.get()

    assert [] == bench.recorder.events
    assert {"no_user": 1} == bench.unrecorded


def test_model_of_a_part_is_cut_to_the_contract() -> None:
    """An answer may name any model; the event stays valid."""
    runs = [run("advisor_message", 1, 1, model="m\ud800" * 500)]
    bench = Bench(answering({**ANSWER, "usage": {**USAGE, "iterations": runs}}))

    bench.get()

    _, part = bench.recorder.events
    assert UsageEvent.model_validate(part.model_dump()) == part

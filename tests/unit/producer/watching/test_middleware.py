"""The middleware around six-line applications: what it records, what it counts, what it leaves."""

import asyncio
import json
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import BaseModel, TypeAdapter

from tests.support.logs import capture_logs
from tests.support.watched import ALICE, CHAT, PATH, Bench, answering, nothing, run, swallow
from usagepipe.producer import Caller, UsageMiddleware, stamp_usage
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import Message, Receive, Scope, Send
from usagepipe.schemas.event import UsageEvent


def test_stamp_makes_the_event() -> None:
    """T-01: a handler that reports qwen-7b, 9 and 5 makes one event of 9/5/14."""
    bench = Bench(answering({}, before=lambda: stamp_usage("qwen-7b", 9, 5)))

    bench.get()

    assert (9, 5, 14) == bench.tokens
    assert "qwen-7b" == bench.event.model
    assert {} == bench.unrecorded


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


def test_unknown_caller_is_counted() -> None:
    """T-06: where identify knows nobody there is no event, and `no_user` is counted."""
    bench = Bench(answering(CHAT), identify=lambda scope: None)

    bench.get()

    assert [] == bench.recorder.events
    assert {"/v1/chat/completions": {"no_user": 1}} == bench.recorder.counters.unrecorded


def test_caller_with_an_empty_id_is_nobody() -> None:
    """T-06: a caller without a user id is counted as `no_user`."""
    bench = Bench(answering(CHAT), identify=lambda scope: Caller(""))

    bench.get()

    assert {"no_user": 1} == bench.unrecorded


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
    """T-11: a correlation id that stands in the response header only is in the event."""
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


def test_stamp_wins_over_the_body() -> None:
    """Where handler and body both tell tokens, the handler's count, none of the body's."""
    body = {"usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}}}
    bench = Bench(answering(body, before=lambda: stamp_usage("m", 9, 5)))

    bench.get()

    assert (9, 5, 14) == bench.tokens
    assert 0 == bench.event.cached_tokens


def test_stamp_of_zeros_counts() -> None:
    """A stamp of zero tokens is a request of zero tokens, whatever the body says."""
    bench = Bench(answering(CHAT, before=lambda: stamp_usage("m", 0, 0)))

    bench.get()

    assert (0, 0, 0) == bench.tokens


def test_stamps_of_one_request_add_up() -> None:
    """A later stamp overrules the fields that it gives, and tags are added up."""

    def stamp() -> None:
        stamp_usage("m", 9, 5, tags={"a": "1"})
        stamp_usage(completion_tokens=6, cost=Decimal("0.25"), tags={"b": "2"})

    bench = Bench(answering({}, before=stamp))

    bench.get()

    assert (9, 6, 15) == bench.tokens
    assert Decimal("0.25") == bench.event.cost
    assert {"a": "1", "b": "2"} == bench.event.tags


def test_stamp_outside_of_a_request_is_harmless() -> None:
    """Outside of the middleware there is nothing to stamp, and the handler is told so."""
    assert stamp_usage("m", 1, 1) is False


def test_stamp_of_a_request_that_is_over_comes_too_late() -> None:
    """What a request left running is told that nothing can be stamped any more."""
    late: list[bool] = []
    over = asyncio.Event()

    async def leave_running() -> None:
        await over.wait()
        late.append(stamp_usage("m", 1, 1))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tasks.append(asyncio.create_task(leave_running()))
        await answering(CHAT)(scope, receive, send)

    async def main() -> None:
        await run(bench.app, {"type": "http", "path": "/x"})
        over.set()
        await tasks[0]

    tasks: list[asyncio.Task[None]] = []
    bench = Bench(app)

    asyncio.run(main())

    assert [False] == late
    assert (31, 7, 38) == bench.tokens


def test_stamp_works_in_threads_and_tasks() -> None:
    """A handler's thread, task, and a thread started by hand all reach their own request."""
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await asyncio.to_thread(stamp_usage, "m", 9)
        await asyncio.create_task(_stamp(completion_tokens=5))
        thread = threading.Thread(target=lambda: stamp_usage(provider="p", scope=scope))
        thread.start()
        thread.join()
        await answering({})(scope, receive, send)

    async def _stamp(**fields: Any) -> None:
        stamp_usage(**fields)

    bench = Bench(app)

    bench.get()

    assert (9, 5, 14) == bench.tokens
    assert "p" == bench.event.provider


def test_concurrent_requests_do_not_share_a_stamp() -> None:
    """Two hundred requests at once: each event holds its own number."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        number = int(scope["path"].rpartition("/")[2])
        stamp_usage("m", prompt_tokens=number)
        await asyncio.sleep(0)
        stamp_usage(completion_tokens=number)
        await answering({})(scope, receive, send)

    bench = Bench(app)

    async def main() -> None:
        transport = httpx.ASGITransport(bench.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await asyncio.gather(*(client.get(f"/{n}") for n in range(200)))

    asyncio.run(main())

    seen = {(e.endpoint, e.prompt_tokens, e.completion_tokens) for e in bench.recorder.events}
    assert {(f"/{n}", n, n) for n in range(200)} == seen


def test_stamp_in_a_background_task_counts() -> None:
    """What a background task stamps after the answer is in the event."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering({})(scope, receive, send)
        stamp_usage("m", 9, 5)

    bench = Bench(app)

    bench.get()

    assert (9, 5, 14) == bench.tokens


def test_async_identify_is_awaited() -> None:
    """The hook may be a coroutine function."""

    async def identify(scope: Scope) -> Caller:
        await asyncio.sleep(0)
        return ALICE

    bench = Bench(answering(CHAT), identify=identify)

    bench.get()

    assert "u-alice" == bench.event.user_id


def test_identify_that_hangs_holds_nothing_up_for_long() -> None:
    """The request, and so the end of its server, waits for it no longer than the recorder may take
    to close; then it is given up, and counted."""

    async def identify(scope: Scope) -> Caller:
        await asyncio.Event().wait()
        return ALICE

    recorder = MemoryRecorder(close_seconds=0.1)
    app = UsageMiddleware(answering(CHAT), recorder=recorder, identify=identify)
    ends = iter(["startup", "shutdown"])

    async def receive() -> Message:
        return {"type": f"lifespan.{next(ends)}"}

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await client.post(PATH)
        app.app = lifespan
        await app({"type": "lifespan"}, receive, swallow)
        await asyncio.sleep(0)  # the cancelled one ends

    asyncio.run(asyncio.wait_for(main(), 10))

    assert {PATH: {"cancelled": 1}} == recorder.counters.unrecorded


def test_identify_sees_what_the_application_authenticated() -> None:
    """The hook runs after the application, so a user that it put into the scope is there."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["user"] = "bob"
        await answering(CHAT)(scope, receive, send)

    bench = Bench(app, identify=lambda scope: Caller(scope["user"]))

    bench.get()

    assert "bob" == bench.event.user_id
    assert "web" == bench.event.source


def _raise(*_: object) -> Any:
    raise RuntimeError("sk-secret-in-the-text")


class BrokenRecorder(MemoryRecorder):
    def record(self, event: UsageEvent) -> bool:
        return bool(_raise())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"identify": _raise}, "identify_failed"),
        ({"recorder": BrokenRecorder()}, "record_failed"),
        ({"identify": lambda scope: "not a caller"}, "identify_failed"),
        ({"identify": lambda scope: Caller("u" * 257)}, "invalid"),
    ],
)
def test_fault_in_the_middleware_never_reaches_the_request(
    options: dict[str, Any], reason: str
) -> None:
    """A hook or recorder that fails is logged and counted; the client sees its answer."""
    bench = Bench(answering(CHAT), **options)

    with capture_logs() as logs:
        answer = bench.get()

    assert CHAT == answer.json()
    assert {reason: 1} == bench.unrecorded
    assert ["usage_unrecorded"] == [entry["event"] for entry in logs]
    assert "sk-secret" not in str(logs)


class Session(BaseModel):
    user: str


@pytest.mark.parametrize(
    "check",
    [
        lambda: Session.model_validate_json("sk-secret"),
        lambda: TypeAdapter(int).validate_python("sk-secret"),
        lambda: TypeAdapter(dict[str, int]).validate_python({"sk-secret": "x"}),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_hook_that_checks_with_pydantic_fails_as_any_other(
    check: Callable[[], object], is_async: bool
) -> None:
    """Its error is the hook's, not the event's: counted so, and nothing of its text is logged."""

    async def later(scope: Scope) -> Caller:
        check()
        return ALICE

    def at_once(scope: Scope) -> Caller:
        check()
        return ALICE

    bench = Bench(answering(CHAT), identify=later if is_async else at_once)

    with capture_logs() as logs:
        answer = bench.get()

    assert CHAT == answer.json()
    assert {"identify_failed": 1} == bench.unrecorded
    assert "sk-secret" not in str(logs)


def test_caller_as_a_database_has_it_is_taken() -> None:
    """Nulls are none, and ids may be numbers or UUIDs."""
    team = UUID(int=7)
    row: dict[str, Any] = {"user_id": 42, "user_name": None, "team_id": team, "customer_id": None}
    bench = Bench(answering(CHAT), identify=lambda scope: Caller(**row))

    bench.get()

    event = bench.event
    assert ("42", "", str(team), "") == (
        event.user_id,
        event.user_name,
        event.team_id,
        event.customer_id,
    )


def test_tag_of_a_strangers_text_costs_no_tokens() -> None:
    """Too long a tag is cut, and what UTF-8 cannot carry is replaced."""
    tags = {"end_user": "x" * 3_000, "name": "\ud800", "k" * 200: "v"}
    bench = Bench(answering(CHAT, before=lambda: stamp_usage(tags=tags)))

    bench.get()

    assert {"end_user": "x" * 2_048, "name": "?", "k" * 128: "v"} == bench.event.tags
    assert 38 == bench.event.total_tokens


def test_headers_that_can_be_read_once_are_read() -> None:
    """An answer's headers may be an iterator (ASGI): server and middleware both see them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = iter([(b"content-type", b"application/json")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(CHAT).encode()})

    bench = Bench(app)

    assert "application/json" == bench.get().headers["content-type"]
    assert (31, 7, 38) == bench.tokens


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


def test_raising_application_is_failed_and_its_error_goes_on() -> None:
    """The application's own exception passes unchanged; tokens stamped before it are recorded."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage("m", 9, 5)
        raise KeyError("the application's own")

    bench = Bench(app)

    with pytest.raises(KeyError, match="the application's own"):
        asyncio.run(bench.app({"type": "http", "path": "/x", "headers": []}, nothing, swallow))

    assert (True, 500) == (bench.event.failed, bench.event.status_code)


def test_cancelled_request_keeps_what_was_stamped() -> None:
    """A request whose client goes away is cancelled; its stamped tokens are recorded."""
    entered = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage("m", 9, 5)
        entered.set()
        await asyncio.sleep(60)

    bench = Bench(app)

    async def main() -> None:
        scope = {"type": "http", "path": "/x", "headers": []}
        task = asyncio.create_task(run(bench.app, scope))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert (9, 5, 14) == bench.tokens


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
    """Case and parameters do not matter; without a type, the first byte tells."""
    bench = Bench(answering(CHAT, headers=[("Content-Type", content_type)]))

    bench.get()

    assert (31, 7, 38) == bench.tokens


def test_each_chunk_is_sent_on_before_it_is_looked_at() -> None:
    """No byte is delayed: the same message objects pass, one by one, in order."""
    raw = json.dumps(CHAT).encode()
    chunks: list[Message] = [
        {"type": "http.response.body", "body": raw[i : i + 1], "more_body": True}
        for i in range(len(raw))
    ]
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number, chunk in enumerate(chunks, start=2):
            await send(chunk)
            assert number == len(sent)
        await send({"type": "http.response.body"})

    bench = Bench(app)

    asyncio.run(run(bench.app, {"type": "http", "path": "/x"}, sent))

    assert all(a is b for a, b in zip(chunks, sent[1:-1], strict=True))
    assert (31, 7, 38) == bench.tokens


def test_client_that_has_gone_is_counted_all_the_same() -> None:
    """Where sending fails, the tokens were used: the chunk that could not be sent still counts."""

    async def gone(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the client has gone")

    bench = Bench(answering(CHAT))

    with pytest.raises(OSError, match="the client has gone"):
        asyncio.run(bench.app({"type": "http", "path": "/x", "headers": []}, nothing, gone))

    assert (31, 7, 38) == bench.tokens


@pytest.mark.parametrize("kind", ["websocket", "something.new"])
def test_other_protocols_pass_through(kind: str) -> None:
    """A websocket reaches the application with the very same callables."""
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([scope, receive, send])

    bench = Bench(app)
    scope: Scope = {"type": kind}

    asyncio.run(bench.app(scope, nothing, swallow))

    assert [{"type": kind}, nothing, swallow] == seen
    assert {} == bench.unrecorded


def test_disabled_recorder_makes_the_middleware_transparent() -> None:
    """With `enabled=False` nothing is looked at and nothing is counted."""
    bench = Bench(answering(CHAT), recorder=MemoryRecorder(enabled=False), identify=_raise)

    bench.get()

    assert [] == bench.recorder.events
    assert {} == bench.unrecorded


def test_mounted_twice_counts_once() -> None:
    """The middleware inside the middleware leaves the request to the outer one."""
    recorder = MemoryRecorder()
    inner = UsageMiddleware(answering(CHAT), recorder=recorder, identify=lambda scope: ALICE)
    bench = Bench(inner, recorder=recorder)

    bench.get()

    assert (31, 7, 38) == bench.tokens


def test_application_inside_of_another_counts_once() -> None:
    """An application that another one calls, with a scope of its own, is a part of its request."""
    recorder = MemoryRecorder()
    inner = UsageMiddleware(answering(CHAT), recorder=recorder, identify=lambda scope: ALICE)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await inner({**scope, "path": "/inner"}, receive, send)

    async def anew(scope: Scope, receive: Receive, send: Send) -> None:
        transport = httpx.ASGITransport(inner)
        async with httpx.AsyncClient(transport=transport, base_url="http://inner") as client:
            answer = await client.post("/inner")
        await answering(answer.json())(scope, receive, send)

    for app in (outer, anew):
        Bench(app, recorder=recorder).get()

    assert [PATH, PATH] == [event.endpoint for event in recorder.events]


def test_second_try_with_the_same_scope_counts_too() -> None:
    """Whoever is outside may call the application again after a failure: both are requests."""
    recorder = MemoryRecorder()
    fails = [True, False]

    async def unsteady(scope: Scope, receive: Receive, send: Send) -> None:
        if fails.pop(0):
            raise ConnectionError
        await answering(CHAT)(scope, receive, send)

    watched = UsageMiddleware(unsteady, recorder=recorder, identify=lambda scope: ALICE)

    async def again(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await watched(scope, receive, send)
        except ConnectionError:
            await watched(scope, receive, send)

    async def ask() -> None:
        transport = httpx.ASGITransport(again)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await client.post(PATH)

    asyncio.run(ask())

    assert [(True, 0), (False, 38)] == [(e.failed, e.total_tokens) for e in recorder.events]


def test_lifespan_shutdown_delivers_first() -> None:
    """When the server shuts down, the recorder is stopped before shutdown is reported complete."""
    steps: list[str] = []

    class Noting(MemoryRecorder):
        def start(self) -> None:
            steps.append("start")

        def stop(self) -> int:
            steps.append("stop" if threading.current_thread() is not _main else "blocked")
            return 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def note(message: Message) -> None:
        steps.append(message["type"])

    _main = threading.current_thread()
    bench = Bench(app, recorder=Noting())

    asyncio.run(bench.app({"type": "lifespan"}, nothing, note))

    expected = ["start", "lifespan.startup.complete", "stop", "lifespan.shutdown.complete"]
    assert expected == steps


def test_application_that_never_answers_is_failed() -> None:
    """A server answers 500 for an application that returns without an answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage("m", 1, 1)

    bench = Bench(app)

    asyncio.run(run(bench.app, {"type": "http", "path": "/x"}))

    assert (True, 500) == (bench.event.failed, bench.event.status_code)

"""The hook that names a request's caller: when it runs, what it may return, how it fails."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import BaseModel, TypeAdapter

from tests.support.logs import capture_logs
from tests.support.watched import ALICE, CHAT, PATH, Bench, answering, failing, swallow
from usagepipe.producer import Caller, UsageMiddleware
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import Message, Receive, Scope, Send
from usagepipe.schemas.event import UsageEvent


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


class BrokenRecorder(MemoryRecorder):
    def record(self, event: UsageEvent) -> bool:
        return bool(failing())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"identify": failing}, "identify_failed"),
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

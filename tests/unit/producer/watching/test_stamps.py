"""What a handler reports for its own request, and from where it can."""

import asyncio
import threading
from decimal import Decimal
from typing import Any

import httpx

from tests.support.watched import CHAT, Bench, answering, run
from usagepipe.producer import stamp_usage
from usagepipe.producer.watching.asgi import Receive, Scope, Send


def test_stamp_makes_the_event() -> None:
    """T-01: a handler that reports qwen-7b, 9 and 5 makes one event of 9/5/14."""
    bench = Bench(answering({}, before=lambda: stamp_usage("qwen-7b", 9, 5)))

    bench.get()

    assert (9, 5, 14) == bench.tokens
    assert "qwen-7b" == bench.event.model
    assert {} == bench.unrecorded


def test_stamp_wins_over_the_body() -> None:
    """If handler and body both report tokens, only the handler's count."""
    body = {"usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}}}
    bench = Bench(answering(body, before=lambda: stamp_usage("m", 9, 5)))

    bench.get()

    assert (9, 5, 14) == bench.tokens
    assert 0 == bench.event.cached_tokens


def test_stamp_of_zeros_counts() -> None:
    """A stamp of zero tokens overrides the tokens in the body."""
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
    """Outside a watched request stamping has no effect and returns False."""
    assert stamp_usage("m", 1, 1) is False


def test_stamp_of_a_request_that_is_over_comes_too_late() -> None:
    """A task that outlives its request cannot stamp any more; stamping returns False."""
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

"""The replay checks every answer: a gateway that answers otherwise ends the demo."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from usagepipe.local.demo.catalogue import MODEL_BY_NAME, UNPRICED, Model
from usagepipe.local.demo.gateway import PATH
from usagepipe.local.demo.plan import REFUSED, plan
from usagepipe.local.demo.replay import CONCURRENT_REQUESTS, Sent, replay, sum_up, sums_of
from usagepipe.local.demo.trace import synthesize
from usagepipe.local.ports import free_port
from usagepipe.schemas.errors import ServerUnavailableError, UsagePipeError
from usagepipe.schemas.prices import Pricer, builtin_book

PRICER = Pricer(builtin_book())
Handler = Callable[[web.Request], Awaitable[web.Response]]


async def as_asked(request: web.Request) -> web.Response:
    wish = (await request.json())["metadata"]
    counts = {name: int(wish[name]) for name in ("prompt_tokens", "completion_tokens")}
    body = {"usage": counts} if wish["status"] == "200" else {"error": {}}
    return web.json_response(body, status=int(wish["status"]))


def send(requests: int, handler: Handler = as_asked, speed: float | None = None) -> Sent:
    async def run() -> Sent:
        app = web.Application()
        app.router.add_post(PATH, handler)
        planned = plan(synthesize(requests, 1), 1, refusals=True)
        async with TestServer(app) as server:
            return await replay(planned, str(server.make_url("")), speed, lambda: None, PRICER)

    return asyncio.run(run())


def test_what_is_sent_is_added_up() -> None:
    """The sums are those of the plan, in all and by source."""
    requests = list(plan(synthesize(300, 1), 1, refusals=True))

    sent = send(300)

    assert sum_up(sums_of(each, PRICER) for each in requests) == sent.sums
    assert {"web", "apikey", "legacy"} == set(sent.by_source)
    assert sent.by_source["apikey"] == sum_up(sent.by_key.values())


def test_the_cost_is_that_of_the_price_book() -> None:
    """Cached tokens cost less, a refused request nothing, and a model without a price adds none."""
    requests = [each for each in plan(synthesize(300, 1), 1, refusals=True)]
    some = next(each for each in requests if not each.failed)
    million = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "cached_tokens": 500_000}

    def cost(model: Model, **fields: Any) -> Decimal:
        return sums_of(replace(some, model=model, **million | fields), PRICER).cost

    assert Decimal("0.1375") == cost(MODEL_BY_NAME["gpt-5-mini"])
    assert Decimal("0.25") == cost(MODEL_BY_NAME["gpt-5-mini"], cached_tokens=0)
    assert 0 == cost(UNPRICED)
    assert {0} == {sums_of(each, PRICER).cost for each in requests if each.status == REFUSED}


def test_every_request_presents_its_caller() -> None:
    """Each request has exactly one credential."""
    seen: list[int] = []

    async def note(request: web.Request) -> web.Response:
        credentials = ("authorization", "cookie", "x-api-key")
        seen.append(sum(name in request.headers for name in credentials))
        return await as_asked(request)

    send(100, note)

    assert [1] * 100 == seen


def test_an_answer_with_other_tokens_ends_the_replay() -> None:
    """A gateway that answers a token more is found at once."""

    async def one_more(request: web.Request) -> web.Response:
        wish = (await request.json())["metadata"]
        return web.json_response(
            {"usage": {"prompt_tokens": int(wish["prompt_tokens"]) + 1, "completion_tokens": 0}}
        )

    with pytest.raises(UsagePipeError, match=r"The gateway answered \(200, \d+, 0\) where"):
        send(50, one_more)


def test_a_gateway_that_is_not_there_ends_the_replay() -> None:
    """The error names the address, and the exit status is that of an unreachable server."""
    requests = plan(synthesize(10, 1), 1, refusals=True)
    address = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(ServerUnavailableError) as caught:
        asyncio.run(replay(requests, address, None, lambda: None, PRICER))

    assert ("The gateway", address) == (caught.value.server, caught.value.address)


def test_requests_run_at_once_and_bounded() -> None:
    """As many requests as allowed are under way together, and never more."""
    running = most = 0

    async def wait_for_others(request: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return await as_asked(request)

    send(300, wait_for_others)

    assert CONCURRENT_REQUESTS == most


def test_speed_keeps_the_pace_of_the_trace() -> None:
    """At a hundred times its speed, a trace takes a hundredth of its time, and not less."""
    seconds = synthesize(200, 1)[-1].at_seconds / 100
    started = time.perf_counter()

    send(200, speed=100)

    assert seconds <= time.perf_counter() - started < seconds + 5

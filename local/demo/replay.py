"""Sends the planned requests to the gateway over HTTP, many at a time, and sums what it sent.

It uses aiohttp, which the worker needs anyway: httpx is ten times slower, and the demo must not
measure its client.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import reduce

import aiohttp

from usagepipe.local.demo.check import Sums
from usagepipe.local.demo.gateway import PATH
from usagepipe.local.demo.plan import PlannedRequest
from usagepipe.schemas.errors import ServerUnavailableError, UsagePipeError
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.prices import Pricer, cost_text

CONCURRENT_REQUESTS = 32
REQUEST_SECONDS = 30.0  # of a stub that answers in a millisecond: the gateway hangs


@dataclass
class Sent:
    """What the replay has sent and the gateway has answered, and its cost by `pricer`."""

    pricer: Pricer
    by_source: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    by_key: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    seconds: float = 0.0

    @property
    def sums(self) -> Sums:
        return sum_up(self.by_source.values())

    def add(self, request: PlannedRequest) -> None:
        """Count a request that was answered as planned."""
        sums, caller = sums_of(request, self.pricer), request.credential.caller
        self.by_source[caller.source] = self.by_source[caller.source].plus(sums)
        if caller.api_key_id:
            self.by_key[caller.api_key_id] = self.by_key[caller.api_key_id].plus(sums)


def sum_up(parts: Iterable[Sums]) -> Sums:
    """The sum of all `parts`."""
    return reduce(Sums.plus, parts, Sums())


def sums_of(request: PlannedRequest, pricer: Pricer) -> Sums:
    """What one request must add to every sum."""
    prompt, completion = request.prompt_tokens, request.completion_tokens
    cost = pricer.price(_event(request))
    known = Decimal(cost_text(cost)) if isinstance(cost, int) else Decimal(0)
    return Sums(1, int(request.failed), prompt, completion, prompt + completion, known)


def _event(request: PlannedRequest) -> UsageEvent:
    """What decides the price of the event that the gateway records for this request."""
    return UsageEvent.new(
        user_id=request.credential.caller.user_id,
        customer_id=request.credential.caller.customer_id,
        provider=request.model.provider,
        model=request.model.name,
        failed=request.failed,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=request.completion_tokens,
        total_tokens=request.prompt_tokens + request.completion_tokens,
        cached_tokens=request.cached_tokens,
    )


async def replay(
    requests: Iterator[PlannedRequest],
    gateway: str,
    speed: float | None,
    answered: Callable[[], None],
    pricer: Pricer,
) -> Sent:
    """Send every request and check every answer; `answered` is called after each.

    `speed` 1 keeps the trace's own pace, 10 is ten times as fast, None as fast as possible.

    Raises:
        ServerUnavailableError: the gateway does not answer.
        UsagePipeError: it answered otherwise than planned.
    """
    sent = Sent(pricer)
    started = time.perf_counter()
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    connector = aiohttp.TCPConnector(limit=CONCURRENT_REQUESTS)
    async with aiohttp.ClientSession(gateway, connector=connector, timeout=timeout) as session:

        async def send_some() -> None:
            for request in requests:  # one iterator, shared: each request is taken once
                if speed is not None:
                    due = started + request.at_seconds / speed
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                await _send(session, request)
                sent.add(request)
                answered()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(CONCURRENT_REQUESTS):
                    group.create_task(send_some())
        except ExceptionGroup as errors:
            raise _meaning(errors.exceptions[0], gateway) from None
    sent.seconds = time.perf_counter() - started
    return sent


def _meaning(error: Exception, gateway: str) -> Exception:
    if isinstance(error, aiohttp.ClientError | TimeoutError):
        reason = str(error) or type(error).__name__
        return ServerUnavailableError("The gateway", gateway, reason)
    return error


async def _send(session: aiohttp.ClientSession, request: PlannedRequest) -> None:
    credential = request.credential
    headers = {credential.header: credential.value}
    async with session.post(PATH, json=_body(request), headers=headers) as response:
        body = await response.json()
    usage = body.get("usage", {})
    answer = response.status, usage.get("prompt_tokens"), usage.get("completion_tokens")
    tokens = (request.prompt_tokens, request.completion_tokens)
    planned = (request.status, *((None, None) if request.failed else tokens))
    if answer != planned:
        raise UsagePipeError(f"The gateway answered {answer} where {planned} was asked for.")


def _body(request: PlannedRequest) -> dict[str, object]:
    """An OpenAI-style request. `metadata` describes the answer for the stub."""
    return {
        "model": request.requested_model,
        "messages": [{"role": "user", "content": "…"}],
        "metadata": {
            "model": request.model.name,
            "status": str(request.status),
            "prompt_tokens": str(request.prompt_tokens),
            "completion_tokens": str(request.completion_tokens),
            "cached_tokens": str(request.cached_tokens),
        },
    }

"""Retries an operation until its server answers; nothing is lost by trying again.

An error is classified (`refusals`): refused content is not tried again, the caller divides it.
Everything else is tried again with a growing delay; back-pressure bounds what waits meanwhile.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TypeVar

import structlog

from usagepipe.consumer.clickhouse.refusals import Refusal, classify
from usagepipe.consumer.runtime.causes import brief, cause_of
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.schemas.clickhouse.codes import Kind

Result = TypeVar("Result")

log = structlog.get_logger()

WARN_SECONDS = 5.0  # between two warnings of a server about the same error


# A server that restarts is back in seconds: try often enough to notice it soon.
FIRST_DELAY_SECONDS = 0.1
MOST_DELAY_SECONDS = 3.0


def retry_delays() -> Iterator[float]:
    """Endless delays in seconds. They double up to `MOST_DELAY_SECONDS`.

    Each is random in its upper half, so workers that lost one server do not return all at once.
    """
    delay = FIRST_DELAY_SECONDS
    while True:
        yield random.uniform(delay / 2, delay)
        delay = min(delay * 2, MOST_DELAY_SECONDS)


async def until_answered(
    attempt: Callable[[], Awaitable[Result]],
    failed: Callable[[int, Exception], None],
    retried: type[Exception] = Exception,  # any failure of a server or client
) -> tuple[Result, int]:
    """The result of the first `attempt` that raises nothing, and the number of tries.

    `failed` notes the number and the error of each other try; what it raises ends the retry.
    """
    for tries, delay in enumerate(retry_delays(), start=1):
        try:
            return await attempt(), tries
        except retried as error:
            failed(tries, error)
            await asyncio.sleep(delay)
    raise AssertionError("delays never end")


class ContentRefusedError(Exception):
    """ClickHouse refuses what the rows hold; trying again would change nothing."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.name)


class Retrier:
    """Repeats attempts, and keeps health and metrics informed."""

    def __init__(self, metrics: WorkerMetrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._warned: dict[tuple[str, str], float] = {}  # when, by server and error

    async def __call__(
        self, server: str, where: str, attempt: Callable[[], Awaitable[Result]]
    ) -> tuple[Result, int]:
        """What `attempt` returned at last, and the number of tries. `where` names what is tried.

        Raises:
            ContentRefusedError: ClickHouse refuses the content.
        """
        try:
            return await until_answered(attempt, partial(self._failed, server, where))
        finally:
            self._health.succeeded(server, where)  # also where it is given up, or refused

    def _failed(self, server: str, where: str, tries: int, error: Exception) -> None:
        cause = cause_of(error)
        kind = cause.kind
        self._metrics.store_failures.labels(server, kind).inc()
        if server == "clickhouse" and kind is Kind.CONTENT:
            raise ContentRefusedError(classify(error)) from None  # its text quotes rows
        self._health.failed(server, error, where)
        write = log.warning if self._is_due(server, cause.error) else log.debug
        write(
            "store_failed",
            server=server,
            kind=kind,
            what=where,
            tries=tries,
            error=brief(error),
            why=cause.why,
        )

    def _is_due(self, server: str, error: str) -> bool:
        """Whether to warn: each partition meets the same trouble in every attempt."""
        now = time.monotonic()
        if now - self._warned.get((server, error), -WARN_SECONDS) < WARN_SECONDS:
            return False
        self._warned[server, error] = now
        return True

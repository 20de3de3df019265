"""Tries a server until it does what it is asked to, and tells of it: nothing is lost by trying.

What an attempt raises is classified (`refusals`): a refusal of the content is not tried again, it
is the caller's to divide. Everything else is, with a growing delay; the partition worker's
back-pressure bounds what waits meanwhile.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from usagepipe.consumer.clickhouse.refusals import Refusal, classify
from usagepipe.consumer.runtime.backoff import SERVER_AWAY
from usagepipe.consumer.runtime.causes import brief, cause_of
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.schemas.clickhouse.codes import Kind

Result = TypeVar("Result")

log = structlog.get_logger()

WARN_SECONDS = 5.0  # between two warnings of a server about the same error


class ContentRefusedError(Exception):
    """ClickHouse refuses what the rows hold; trying again would change nothing."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.name)


class Persistence:
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
            for tries, delay in enumerate(SERVER_AWAY.delays(), start=1):
                try:
                    return await attempt(), tries
                except Exception as error:  # any failure of a server or client
                    self._failed(server, where, tries, error)
                    await asyncio.sleep(delay)
        finally:
            self._health.succeeded(server, where)  # also where it is given up, or refused
        raise AssertionError("delays never end")

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

"""The preflight at a worker's start: its servers must keep what "exactly once" depends on.

It runs when the servers first answer, before anything is announced or inserted. It waits for an
unreachable server. A worker that may lose or double events is worse than none, so a refusal ends
it. A restart, a cut connection or a running `usagepipe migrate` can look like a reason to refuse.
So the check is repeated first: only a reason that stays is final.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import structlog
from aiokafka.errors import UnknownTopicOrPartitionError

from usagepipe.consumer.clickhouse.writer import INSERT_SETTINGS
from usagepipe.consumer.preflight.semantics import check_clickhouse
from usagepipe.consumer.preflight.tables import check_tables
from usagepipe.consumer.preflight.topic import check_topic
from usagepipe.consumer.rollups.raw_retention import live_retention_days
from usagepipe.consumer.runtime.causes import brief
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.retry import until_answered
from usagepipe.schemas.clickhouse.client import as_usagepipe_error, connect, error_code
from usagepipe.schemas.clickhouse.codes import LOCKED_OUT
from usagepipe.schemas.clickhouse.migrations import Target
from usagepipe.schemas.errors import (
    MigrationError,
    SettingsError,
    StartRefusedError,
    UsagePipeError,
)
from usagepipe.schemas.settings import ClickHouseAddress, WorkerSettings

log = structlog.get_logger()

TRIES_PER_LINE = 10  # of the log, while a server is unreachable
# A refusal is final after this many in a row, over at least this time.
REFUSED_TRIES = 3
REFUSED_SECONDS = 6.0  # a migration under way, or a server that starts, is done by then


class Preflight:
    """The checks that must pass before a worker with these settings may store."""

    def __init__(self, settings: WorkerSettings, health: Health) -> None:
        self._settings = settings
        self._health = health
        self._checking: asyncio.Task[None] | None = None
        self.clickhouse_passed = asyncio.Event()  # also where a refusal is only logged
        self._raw_days = settings.raw_retention_days  # until the table's own is read

    async def at_start(self) -> None:
        """`once`, for a worker that has nothing to store yet; the health reports a refusal."""
        with suppress(StartRefusedError):
            await self.once()

    async def once(self) -> None:
        """`check`, run by the first caller; all callers wait for it and get the same result."""
        if self._checking is None:
            self._checking = asyncio.create_task(self.check(), name="preflight")
        await asyncio.shield(self._checking)  # a cancelled caller must not cancel the shared check

    async def check(self) -> None:
        """Return when the worker may begin. Waits without limit for unreachable servers.

        With `USAGEPIPE_PREFLIGHT=off` it creates nothing on ClickHouse. A failed check is then only
        logged as a warning, unless a server refuses the worker's login.

        Raises:
            StartRefusedError: it must not begin. The health reports the reason.
        """
        if not self._settings.preflight:
            log.warning("preflight_skipped", cure="unset USAGEPIPE_PREFLIGHT")
        settings = self._settings
        await self._when_answered("clickhouse", partial(asyncio.to_thread, self.check_clickhouse))
        self.clickhouse_passed.set()
        topic = (settings.topic, settings.topic_retention, self._raw_days)
        await self._when_answered("kafka", partial(check_topic, settings, *topic))

    def check_clickhouse(self) -> None:
        """Check the tables and what the server does with a repeated insert. Blocks, about 1 s.

        Raises:
            Exception: `_reason` decides whether it is a refusal.
        """
        address = self._settings.clickhouse_address
        target = Target(address.database, self._settings.clickhouse_cluster)
        with connect(address, send_receive_timeout=self._settings.insert_seconds) as client:
            engine = check_tables(client, target)
            self._raw_days = live_retention_days(client)
            if self._settings.preflight:
                replicated = engine.startswith("Replicated")
                check_clickhouse(client, INSERT_SETTINGS, replicated=replicated)

    async def _when_answered(self, server: str, check: Callable[[], Awaitable[None]]) -> None:
        evidence = _Evidence()

        def failed(tries: int, error: Exception) -> None:
            if isinstance(error, UnknownTopicOrPartitionError):
                return  # logged where the worker waits for the topic
            reason = _reason(error, self._settings.clickhouse_address)
            if evidence.add(reason) and reason is not None:
                raise reason
            self._health.failed(server, error)
            if reason is None and tries % TRIES_PER_LINE == 1:
                log.warning("preflight_delayed", server=server, tries=tries, error=brief(error))

        try:
            await until_answered(check, failed)
        except UsagePipeError as reason:
            self._refuse(reason)
        else:
            self._health.succeeded(server)

    def _refuse(self, reason: UsagePipeError) -> None:
        doubts = isinstance(reason, StartRefusedError | MigrationError)
        if doubts and not self._settings.preflight:
            log.warning("preflight_failed", reason=str(reason))
            return
        self._health.refuse(str(reason), reason.exit_status)
        if isinstance(reason, StartRefusedError):
            raise reason
        raise StartRefusedError(str(reason)) from reason


class _Evidence:
    """Counts refusals in a row: one alone may be the trace of a restart."""

    def __init__(self) -> None:
        self._count = 0
        self._since = 0.0

    def add(self, reason: UsagePipeError | None) -> bool:
        """Add the result of an attempt, None for no refusal. Whether the refusal is final now."""
        if reason is None:
            self._count = 0
            return False
        if self._count == 0:
            self._since = time.monotonic()
        self._count += 1
        lasted = time.monotonic() - self._since
        return self._count >= REFUSED_TRIES and lasted >= REFUSED_SECONDS


def _reason(error: Exception, address: ClickHouseAddress) -> UsagePipeError | None:
    """Why the server does not take this worker; None if it is unreachable or in trouble."""
    if isinstance(error, StartRefusedError | MigrationError | SettingsError):
        return error
    if error_code(error) in LOCKED_OUT:
        return error if isinstance(error, UsagePipeError) else as_usagepipe_error(error, address)
    return None

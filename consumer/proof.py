"""The proof at a worker's start: that its servers keep what "exactly once in effect" rests on.

It is made when the servers first answer, before anything is announced or inserted; a server that is
away is waited for. What it finds is final: a worker that may lose or double events is worse than
none.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from aiokafka.errors import UnknownTopicOrPartitionError

from usagepipe.consumer.backoff import SERVER_AWAY
from usagepipe.consumer.health import Health
from usagepipe.consumer.persistence import brief
from usagepipe.consumer.proof_semantics import prove_clickhouse
from usagepipe.consumer.proof_tables import check_tables
from usagepipe.consumer.proof_topic import check_topic
from usagepipe.consumer.raw_retention import live_retention_days
from usagepipe.consumer.writer import INSERT_SETTINGS
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrations import Target
from usagepipe.schemas.errors import MigrationError, StartRefusedError
from usagepipe.schemas.settings import Settings

log = structlog.get_logger()

TRIES_PER_LINE = 10  # of the log, while a server is away


class Proof:
    """What is proved before a worker of these settings may store."""

    def __init__(self, settings: Settings, health: Health) -> None:
        self._settings = settings
        self._health = health
        self._proving: asyncio.Task[None] | None = None
        self._raw_days = settings.raw_retention_days  # until the table has told its own

    async def at_start(self) -> None:
        """`once`, for a worker that has nothing to store yet: a refusal is the health's to tell."""
        with suppress(StartRefusedError):
            await self.once()

    async def once(self) -> None:
        """`prove`, made by the first caller; the others wait for it, and get the same answer."""
        if self._proving is None:
            self._proving = asyncio.create_task(self.prove(), name="proof")
        await asyncio.shield(self._proving)  # a rebalance that cancels one caller ends it not

    async def prove(self) -> None:
        """Return when the worker may begin. Waits for servers that are away, for ever.

        With `USAGEPIPE_PROOF=off` nothing is made on ClickHouse, and what would be refused is
        told as a warning.

        Raises:
            StartRefusedError: it must not begin; the health knows it as well.
        """
        if not self._settings.proof:
            log.warning("proof_skipped", cure="unset USAGEPIPE_PROOF")
        await self._when_answered("clickhouse", self._in_thread)
        await self._when_answered("kafka", self._prove_topic)

    def prove_clickhouse(self) -> None:
        """Prove the tables and what the server does with a repeated insert. Blocks, about 1 s.

        Raises:
            StartRefusedError: the worker must not begin.
            Exception: the server is away, or in trouble: try again.
        """
        address = self._settings.clickhouse_address
        target = Target(address.database, self._settings.clickhouse_cluster)
        seconds = self._settings.insert_seconds
        try:
            client = connect(address, send_receive_timeout=seconds)
        except MigrationError as error:  # there is no such database
            raise StartRefusedError(str(error)) from error
        with client:
            engine = check_tables(client, target)
            self._raw_days = live_retention_days(client)
            if self._settings.proof:
                replicated = engine.startswith("Replicated")
                prove_clickhouse(client, INSERT_SETTINGS, replicated=replicated)

    async def _in_thread(self) -> None:
        await asyncio.to_thread(self.prove_clickhouse)

    async def _prove_topic(self) -> None:
        settings = self._settings
        retention = settings.topic_retention
        await check_topic(settings.kafka, settings.topic, retention, self._raw_days)

    async def _when_answered(self, server: str, prove: Callable[[], Awaitable[None]]) -> None:
        for tries, delay in enumerate(SERVER_AWAY.delays(), start=1):
            try:
                await prove()
            except StartRefusedError as error:
                if self._settings.proof:
                    self._health.refuse(str(error))
                    raise
                log.warning("proof_failed", reason=str(error))
                return
            except UnknownTopicOrPartitionError:  # told where the worker waits for it
                await asyncio.sleep(delay)
            except Exception as error:  # away, or in trouble: nothing has begun yet
                self._health.failed(server, error)
                if tries % TRIES_PER_LINE == 1:
                    log.warning("proof_delayed", server=server, tries=tries, error=brief(error))
                await asyncio.sleep(delay)
            else:
                self._health.succeeded(server)
                return

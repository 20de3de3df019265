"""The liveness watchdog: checks the servers every two seconds, and ends a process that is stuck.

A worker that is up but idle is the worst state, so the process ends when nothing else helps, to be
restarted by its supervisor.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, cast

import structlog
from aiokafka.errors import UnknownTopicOrPartitionError

from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.kafka.probe import probe_kafka
from usagepipe.consumer.kafka.transport import ChunkConsumer
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.lag import Lag
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.worker.admission import Admission
from usagepipe.consumer.worker.rebalance_handler import RebalanceHandler
from usagepipe.schemas.settings import WorkerSettings

log = structlog.get_logger()

WATCH_SECONDS = 2.0
LOOK_SECONDS = 5.0  # a server that takes longer counts as unreachable
WAITING_SECONDS = 10.0  # between two log lines of a worker without partitions
STUCK_SECONDS = 60.0  # a stuck process ends after this time
STUCK_STATUS = 70  # EX_SOFTWARE of sysexits.h


class WatchedApp(Protocol):
    """What the watchdog uses of the Faust app."""

    settings: WorkerSettings
    health: Health
    metrics: WorkerMetrics
    lag: Lag
    writer: Writer
    admission: Admission
    rebalance_handler: RebalanceHandler
    exit_status: int
    rebalancing: bool

    @property
    def consumer(self) -> Any: ...
    @property
    def _fetcher(self) -> Any: ...
    @property
    def should_stop(self) -> bool: ...
    @property
    def crashed(self) -> bool: ...
    def add_future(self, coro: Any) -> Any: ...


async def watch(app: WatchedApp) -> None:
    """Check the servers; take over again where a partition worker ended; exit if stuck."""
    stuck_since: float | None = None
    clock = asyncio.get_running_loop().time
    waiting_since = clock()
    while not app.should_stop:
        await asyncio.sleep(WATCH_SECONDS)
        app.metrics.buffered_rows.set(app.rebalance_handler.buffered_rows())
        if app.health.refusal is not None:
            _end_refused(app, app.health.refusal)
            return
        await asyncio.gather(_look_at_kafka(app), _look_at_clickhouse(app), _look_at_lag(app))
        await app.admission.look(cast(ChunkConsumer, app.consumer).log_of_kafka.leave)
        app.metrics.healthy.set(app.health.state == "running")
        if app.health.assigned or not app.admission.open:
            waiting_since = clock()
        elif clock() - waiting_since > WAITING_SECONDS:
            waiting_since = clock()
            log.info("waiting_for_partitions", at_most_seconds=app.settings.session_seconds)
        if app.rebalance_handler.broken and not app.rebalancing:
            log.error("assignment_broken")
            app.add_future(app.consumer.perform_seek())  # without waiting for it
        if not is_stuck(app):
            stuck_since = None
        elif stuck_since is None:
            stuck_since = clock()
        elif clock() - stuck_since > STUCK_SECONDS:
            log.critical("worker_stuck", seconds=STUCK_SECONDS)
            os._exit(STUCK_STATUS)


async def _look_at_lag(app: WatchedApp) -> None:
    """Ask Kafka for the ends of the logs. If it does not answer, the last lag stays."""
    progress = app.rebalance_handler.progress()
    with suppress(Exception):  # _look_at_kafka notes what is wrong
        ends = {}
        if progress:
            asking = cast(ChunkConsumer, app.consumer).log_of_kafka.ends(progress)
            ends = await asyncio.wait_for(asking, LOOK_SECONDS)
        app.lag.update(progress, ends)


async def _look_at_kafka(app: WatchedApp) -> None:
    """Ask Kafka for the topic: an idle worker notices in no other way that its broker is gone."""
    consumer = cast(ChunkConsumer, app.consumer)
    looking = consumer.log_of_kafka.topic_identity(app.settings.topic)
    await _look(
        app, "kafka_unreachable", _find_topic(app, looking), partial(probe_kafka, app.settings)
    )


async def _find_topic(app: WatchedApp, looking: Awaitable[TopicIdentity]) -> None:
    """Check the topic. An answer that the topic is unknown proves that Kafka is reachable.

    A topic that was deleted and created again may cause no rebalance: its records would be stored
    under the old topic's id.
    """
    try:
        identity = await looking
    except UnknownTopicOrPartitionError as error:
        app.health.failed("topic", error)
        return
    app.health.succeeded("topic")
    if app.rebalance_handler.is_of_another(app.settings.topic, identity):
        log.error("topic_recreated", topic=app.settings.topic, topic_id=identity.topic_id)
        app.add_future(app.consumer.perform_seek())


async def _look_at_clickhouse(app: WatchedApp) -> None:
    loop = asyncio.get_running_loop()
    await _look(app, "clickhouse_unreachable", loop.run_in_executor(None, app.writer.ping))


async def _look(
    app: WatchedApp,
    trouble: str,
    looking: Awaitable[Any],
    explain: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Note in the health whether `looking` succeeds. `explain` may raise a more exact error."""
    try:
        try:
            await asyncio.wait_for(looking, LOOK_SECONDS)
        except Exception:
            if explain is not None:
                await asyncio.wait_for(explain(), LOOK_SECONDS)
            raise
    except Exception as error:
        app.health.failed(trouble, error)
    else:
        app.health.succeeded(trouble)


def _end_refused(app: WatchedApp, reason: str) -> None:
    """Stop as on SIGTERM, but log the reason and end with its own status."""
    log.critical("worker_refused", reason=reason)
    app.exit_status = app.health.exit_status
    os.kill(os.getpid(), signal.SIGTERM)


def is_stuck(app: WatchedApp) -> bool:
    """Whether Faust's own services ended while the app still runs."""
    fetcher = app._fetcher
    return not app.should_stop and (app.crashed or (fetcher.started and fetcher.crashed))

"""The Faust app: `faust -A usagepipe.consumer.app worker`, or `usagepipe worker`.

Faust is the frame: process, group membership, the agent, timers, web. Importing this module does
nothing; the app is made, and the environment read, when `app` is first asked for.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import Any, cast

import faust
import structlog
from aiokafka.errors import UnknownTopicOrPartitionError
from faust.app.base import BootStrategy
from faust.serializers.schemas import Schema
from faust.types import Message
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from usagepipe.consumer.clickhouse.stored import StoredRows
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.dead_letters.producer import DeadLetterProducer
from usagepipe.consumer.kafka.probe import probe_kafka
from usagepipe.consumer.kafka.transport import SCHEME, ChunkConsumer, RebalanceListener
from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.decision import Parking
from usagepipe.consumer.parking.limits import DeadLetterLimits
from usagepipe.consumer.parking.table import ParkingTable
from usagepipe.consumer.preflight.preflight import Preflight
from usagepipe.consumer.protocol.batch import BatchPolicy
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.rollups.rebuild import RollupRebuilder
from usagepipe.consumer.runtime.health import Health, worker_name
from usagepipe.consumer.runtime.lag import Lag
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.retry import Retrier
from usagepipe.consumer.runtime.threads import Threads
from usagepipe.consumer.topics.kafka_credentials import faust_credentials
from usagepipe.consumer.worker.admission import Admission
from usagepipe.consumer.worker.batch_sink import ClickHouseSink, Servers
from usagepipe.consumer.worker.rebalance_handler import RebalanceHandler
from usagepipe.schemas.settings import WorkerSettings

log = structlog.get_logger()

WATCH_SECONDS = 2.0
LOOK_SECONDS = 5.0  # a server that takes longer to answer is as good as away
WAITING_SECONDS = 10.0
STOP_SECONDS = 5.0  # beyond the drain, for leaving the group
# An idle process that looks alive is the worst state: after so long it ends, to be restarted.
STUCK_SECONDS = 60.0
STUCK_STATUS = 70  # EX_SOFTWARE of sysexits.h
# Of one partition in one fetch, as compressed as it came.
FETCH_BYTES = 1 << 19


class ChunkSchema(Schema[Any, Any]):
    """Hands the agent a chunk as it is: bytes are read in `rows`, not here."""

    def compile(self, app: Any, **_: Any) -> Any:
        async def as_it_is(message: Message, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, message.headers, message)

        return as_it_is


class WithoutProducer(BootStrategy):
    """The worker uses no producer of Faust: its start would wait for Kafka before the web page."""

    enable_kafka_producer = False


class WorkerApp(faust.App):
    """A Faust app with the parts of the worker. It keeps no tables, so it makes no folders."""

    BootStrategy = WithoutProducer

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.exit_status = 0
        self.metrics = WorkerMetrics()
        self.lag = Lag(self.metrics)
        self.health = Health()
        self.threads = Threads(
            ThreadPoolExecutor(2, thread_name_prefix="prepare"),
            ThreadPoolExecutor(2, thread_name_prefix="ask"),
            ThreadPoolExecutor(settings.inserts, thread_name_prefix="insert"),
        )
        self.writer = Writer(settings.clickhouse_address, settings.insert_seconds)
        self.admission = Admission(self.health, settings.lockout_seconds, self._try_out)
        self.preflight = Preflight(settings, self.health)
        self.letters = DeadLetterProducer(settings, settings.dead_letter_topic)
        self.stored = StoredRows(settings.clickhouse_address, settings.insert_seconds)
        self.rollups = RollupRebuilder(settings.clickhouse_address, settings.insert_seconds)
        self.parked = ParkingTable(
            settings.clickhouse_address, settings.group, settings.insert_seconds
        )
        retry = Retrier(self.metrics, self.health)
        parking = Parking(
            self.parked,
            DeadLetterLimits.of(settings),
            self.threads,
            retry,
            self.metrics,
            self.health,
        )
        sink = ClickHouseSink(
            Servers(self.writer, self.stored, self.rollups, self.letters),
            self.threads,
            settings,
            parking,
            self._acknowledged,
            self.preflight.once,
            retry,
            self.metrics,
            self.health,
        )
        self.rebalance_handler = RebalanceHandler(
            sink,
            parking,
            BatchPolicy.of(settings),
            settings.buffer_megabytes << 20,
            settings.drain_seconds,
            self.metrics,
            self.health,
        )
        super().__init__(settings.group, **_configuration(settings))

    @property
    def rebalance_listener(self) -> RebalanceListener:
        """What `ChunkConsumer` calls when the group assigns or revokes partitions."""
        return self.rebalance_handler

    def _try_out(self) -> None:
        """Raise what the next batch would, on its way into ClickHouse. Blocks.

        Each right is one of its own: who may insert may be kept from reading, and no batch is
        stored without a look for what is stored already, and whether its partition is parked.
        """
        self.writer.try_out()
        self.stored.try_out()
        self.parked.try_out()

    async def _acknowledged(self, topic: str) -> Mapping[TopicPartition, int]:
        return await cast(ChunkConsumer, self.consumer).log_of_kafka.acknowledged(topic)

    def _create_directories(self) -> None:
        pass

    async def on_start(self) -> None:
        await super().on_start()
        self.add_future(_watch(self))
        self.add_future(self.preflight.at_start())  # also where there is nothing to store yet
        self.add_future(self.admission.begin(self.preflight.clickhouse_passed.wait))

    async def on_stop(self) -> None:
        _end_for_sure(self.settings.drain_seconds + STOP_SECONDS, self.exit_status)
        # First of all, while this worker still is in the group: store and commit what it has.
        await self.rebalance_handler.close()
        _end_for_sure(STOP_SECONDS, self.exit_status)
        await super().on_stop()
        await self.letters.close()
        for threads in self.threads:
            threads.shutdown(wait=False, cancel_futures=True)
        self.writer.close()
        self.stored.close()
        self.rollups.close()
        self.parked.close()


def _configuration(settings: WorkerSettings) -> dict[str, Any]:
    servers = settings.kafka.split(",")
    return {
        "broker": [f"{SCHEME}://{server.strip()}" for server in servers],
        "broker_credentials": faust_credentials(settings),
        "broker_client_id": worker_name(),
        "broker_session_timeout": settings.session_seconds,
        "broker_heartbeat_interval": min(3.0, settings.session_seconds / 3),
        "broker_request_timeout": max(90.0, settings.session_seconds),
        "broker_commit_interval": 3600.0,  # Faust writes no offset (transport.py)
        "consumer_auto_offset_reset": "none",  # we seek, and say so (thread.py)
        "consumer_max_fetch_size": FETCH_BYTES,
        # Faust takes these from the environment: with transactions, records of aborted ones would
        # leave a pending range; with a limit, record batches would be counted as records.
        "processing_guarantee": "at_least_once",
        "broker_max_poll_records": None,
        "consumer_metadata_max_age_ms": 30_000,  # a topic that is made later is found
        "stream_wait_empty": True,
        "stream_buffer_maxsize": 4096,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_bind": settings.web_host,
        "web_host": settings.web_host,
        "web_port": settings.web_port,
        "logging_config": None,
    }


def create_app(settings: WorkerSettings) -> WorkerApp:
    """The worker of these settings. Nothing is connected or started yet."""
    app = WorkerApp(settings)
    events = app.topic(settings.topic, schema=ChunkSchema())

    @app.agent(events, name="chunks")
    async def feed(chunks: Any) -> None:
        # Must not raise: Faust would acknowledge the chunk and go on without it.
        async for chunk in chunks:
            _feed(app, chunk)

    _add_pages(app)
    return app


def _feed(app: WorkerApp, chunk: Chunk) -> None:
    if not app.rebalance_handler.feed(chunk):
        log.error("chunk_lost", partition=str(chunk.partition), offset=chunk.first)
        app.add_future(app.consumer.perform_seek())


async def _watch(app: WorkerApp) -> None:
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
            app.add_future(app.consumer.perform_seek())  # this watch goes on
        if not _stuck(app):
            stuck_since = None
        elif stuck_since is None:
            stuck_since = clock()
        elif clock() - stuck_since > STUCK_SECONDS:
            log.critical("worker_stuck", seconds=STUCK_SECONDS)
            os._exit(STUCK_STATUS)


async def _look_at_lag(app: WorkerApp) -> None:
    """Ask Kafka for the ends of the logs. If it does not answer, the last lag stays."""
    progress = app.rebalance_handler.progress()
    with suppress(Exception):  # _look_at_kafka notes what is wrong
        ends = {}
        if progress:
            asking = cast(ChunkConsumer, app.consumer).log_of_kafka.ends(progress)
            ends = await asyncio.wait_for(asking, LOOK_SECONDS)
        app.lag.update(progress, ends)


async def _look_at_kafka(app: WorkerApp) -> None:
    """An idle worker notices only by looking that its broker is gone."""
    consumer = cast(ChunkConsumer, app.consumer)
    looking = consumer.log_of_kafka.topic_identity(app.settings.topic)
    await _look(
        app, "kafka_unreachable", _find_topic(app, looking), partial(probe_kafka, app.settings)
    )


async def _find_topic(app: WorkerApp, looking: Awaitable[TopicIdentity]) -> None:
    """A broker that knows no such topic has answered; the topic is a trouble of its own.

    One that was made anew need not come with a rebalance: its records would go on under the old
    topic's id.
    """
    try:
        identity = await looking
    except UnknownTopicOrPartitionError as error:
        app.health.failed("topic", error)
        return
    app.health.succeeded("topic")
    if app.rebalance_handler.is_of_another(app.settings.topic, identity):
        log.error("topic_made_anew", topic=app.settings.topic, topic_id=identity.topic_id)
        app.add_future(app.consumer.perform_seek())


async def _look_at_clickhouse(app: WorkerApp) -> None:
    loop = asyncio.get_running_loop()
    await _look(app, "clickhouse_unreachable", loop.run_in_executor(None, app.writer.ping))


async def _look(
    app: WorkerApp,
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


def _end_for_sure(seconds: float, status: int) -> None:
    """End the process after so long, whatever still waits; at once at a second Ctrl-C.

    What matters is stored and committed by then, or is the next worker's. Clients that lost their
    broker can keep a process for a minute.
    """
    end = threading.Timer(seconds, os._exit, (status,))
    end.daemon = True
    end.start()
    # Not at a second SIGTERM: a supervisor may send one beside the terminal's Ctrl-C.
    with suppress(NotImplementedError, ValueError, RuntimeError):  # not in the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, os._exit, 128 + signal.SIGINT)


def _end_refused(app: WorkerApp, reason: str) -> None:
    """Stop as on SIGTERM, but log the reason and end with a status of its own."""
    log.critical("worker_refused", reason=reason)
    app.exit_status = app.health.exit_status
    os.kill(os.getpid(), signal.SIGTERM)


def _stuck(app: WorkerApp) -> bool:
    """Whether Faust's own services ended while the app goes on."""
    fetcher = app._fetcher
    return not app.should_stop and (app.crashed or (fetcher.started and fetcher.crashed))


def _add_pages(app: WorkerApp) -> None:
    @app.page("/health")
    async def health(web: Any, request: Any) -> Any:
        report = app.health.report()
        return web.json(report, status=200 if report["state"] == "running" else 503)

    @app.page("/live")
    async def live(web: Any, request: Any) -> Any:
        """Stays 200 in every trouble that a restart does not end."""
        alive = app.health.refusal is None and not _stuck(app)
        report = {"alive": alive, "state": app.health.state}
        return web.json(report, status=200 if alive else 503)

    @app.page("/metrics")
    async def metrics(web: Any, request: Any) -> Any:
        app.lag.age()
        text = generate_latest(app.metrics.registry).decode()
        return web.text(text, content_type=CONTENT_TYPE_LATEST.split(";")[0])


@cache
def _app_of_environment() -> WorkerApp:
    settings = WorkerSettings.load()
    settings.check_retention()
    return create_app(settings)


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app_of_environment()
    raise AttributeError(name)

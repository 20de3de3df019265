"""The Faust app: `faust -A usagepipe.consumer.app worker`, or `usagepipe worker`.

Faust is the frame: process, group membership, the agent, timers, web. Importing this module does
nothing; the app is made, and the environment read, when `app` is first asked for.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any, cast

import faust
import structlog
from faust.app.base import BootStrategy
from faust.serializers.schemas import Schema
from faust.types import Message
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from usagepipe.consumer.clickhouse.prices import StoredPrices
from usagepipe.consumer.clickhouse.stored import StoredRows
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.dead_letters.producer import DeadLetterProducer
from usagepipe.consumer.kafka.transport import SCHEME, ChunkConsumer, RebalanceListener
from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.decision import Parking
from usagepipe.consumer.parking.limits import DeadLetterLimits
from usagepipe.consumer.parking.table import ParkingTable
from usagepipe.consumer.preflight.preflight import Preflight
from usagepipe.consumer.rollups.tables import RollupTables
from usagepipe.consumer.runtime.health import Health, worker_name
from usagepipe.consumer.runtime.lag import Lag
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.retry import Retrier
from usagepipe.consumer.runtime.runtime import Runtime, Threads
from usagepipe.consumer.topics.kafka_credentials import faust_credentials
from usagepipe.consumer.watchdog import is_stuck, watch
from usagepipe.consumer.worker.admission import Admission
from usagepipe.consumer.worker.batch_sink import ClickHouseSink, Servers
from usagepipe.consumer.worker.price_books import PriceBooks
from usagepipe.consumer.worker.rebalance_handler import RebalanceHandler
from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import WorkerSettings

log = structlog.get_logger()

STOP_SECONDS = 5.0  # beyond the drain, for leaving the group
# Of one partition in one fetch, compressed.
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
        address, seconds = settings.clickhouse_address, settings.insert_seconds
        self.writer = Writer(address, seconds)
        self.admission = Admission(self.health, settings.lockout_seconds, self._try_out)
        self.preflight = Preflight(settings, self.health)
        self.letters = DeadLetterProducer(settings, settings.dead_letter_topic)
        self.stored = StoredRows(address, seconds)
        self.rollups = RollupTables(address, seconds)
        self.parked = ParkingTable(address, settings.group, seconds)
        retry = Retrier(self.metrics, self.health)
        runtime = Runtime(self.threads, retry, self.metrics, self.health)
        self.stored_prices = StoredPrices(address, seconds)
        self.prices = PriceBooks(self.stored_prices, settings.cost, runtime)
        parking = Parking(self.parked, DeadLetterLimits.of(settings), runtime)
        sink = ClickHouseSink(
            Servers(self.writer, self.stored, self.rollups, self.letters),
            settings,
            parking,
            self.prices,
            self._acknowledged,
            self.preflight.once,
            runtime,
        )
        self.rebalance_handler = RebalanceHandler(
            sink, parking, settings, self.metrics, self.health
        )
        super().__init__(settings.group, **_configuration(settings))

    @property
    def rebalance_listener(self) -> RebalanceListener:
        """What `ChunkConsumer` calls when the group assigns or revokes partitions."""
        return self.rebalance_handler

    def _try_out(self) -> None:
        """Raise what the next batch would, on its way into ClickHouse. Blocks.

        Each right is one of its own: who may insert may be kept from reading, and no batch is
        stored without a look for what is stored already, whether its partition is parked, and for
        the prices of its rows.
        """
        self.writer.try_out()
        self.stored.try_out()
        self.parked.try_out()
        self.prices.try_out()

    async def _acknowledged(self, topic: str) -> Mapping[TopicPartition, int]:
        return await cast(ChunkConsumer, self.consumer).log_of_kafka.acknowledged(topic)

    def _create_directories(self) -> None:
        pass

    async def on_start(self) -> None:
        await super().on_start()
        self.add_future(watch(self))
        self.add_future(self.preflight.at_start())  # also where there is nothing to store yet
        self.add_future(self.prices.refresh())
        self.add_future(self.admission.begin(self.preflight.clickhouse_passed.wait))

    async def on_stop(self) -> None:
        _end_for_sure(self.settings.drain_seconds + STOP_SECONDS, self.exit_status)
        # First, while this worker is still in the group: store and commit what it has.
        await self.rebalance_handler.close()
        _end_for_sure(STOP_SECONDS, self.exit_status)
        await super().on_stop()
        await self.letters.close()
        for threads in self.threads:
            threads.shutdown(wait=False, cancel_futures=True)
        clients = (self.writer, self.stored, self.rollups, self.parked, self.stored_prices)
        for client in clients:
            client.close()


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
        # Must not raise: Faust would acknowledge the chunk and continue without it.
        async for chunk in chunks:
            _feed(app, chunk)

    _add_pages(app)
    return app


def _feed(app: WorkerApp, chunk: Chunk) -> None:
    if not app.rebalance_handler.feed(chunk):
        log.error("chunk_lost", partition=str(chunk.partition), offset=chunk.first)
        app.add_future(app.consumer.perform_seek())


def _end_for_sure(seconds: float, status: int) -> None:
    """End the process after `seconds`, or at a second Ctrl-C, even if something still waits.

    By then everything is stored and committed, or left to the next worker. Clients that lost their
    broker can keep a process alive for a minute.
    """
    end = threading.Timer(seconds, os._exit, (status,))
    end.daemon = True
    end.start()
    # Not at a second SIGTERM: a supervisor may send one beside the terminal's Ctrl-C.
    with suppress(NotImplementedError, ValueError, RuntimeError):  # not in the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, os._exit, 128 + signal.SIGINT)


def _add_pages(app: WorkerApp) -> None:
    @app.page("/health")
    async def health(web: Any, request: Any) -> Any:
        report = app.health.report()
        return web.json(report, status=200 if report["state"] == "running" else 503)

    @app.page("/live")
    async def live(web: Any, request: Any) -> Any:
        """Stays 200 while a restart would not help."""
        alive = app.health.refusal is None and not is_stuck(app)
        report = {"alive": alive, "state": app.health.state}
        return web.json(report, status=200 if alive else 503)

    @app.page("/metrics")
    async def metrics(web: Any, request: Any) -> Any:
        app.lag.age()
        text = generate_latest(app.metrics.registry).decode()
        return web.text(text, content_type=CONTENT_TYPE_LATEST.split(";")[0])


@cache
def _app_of_environment() -> WorkerApp:
    try:
        settings = WorkerSettings.load()
        settings.check_retention()
    except SettingsError as error:
        raise SystemExit(str(error)) from None  # `faust` would print a traceback
    if not settings.web_port:
        raise SystemExit("USAGEPIPE_WEB_PORT is 0: only `usagepipe worker` finds a free port.")
    return create_app(settings)


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app_of_environment()
    raise AttributeError(name)

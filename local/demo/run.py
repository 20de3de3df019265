"""One run of the demo, from the servers to the verdict. Each part runs in its own process.

When the run ends, also by Ctrl-C or an error, it first stops everything that it started.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from usagepipe.local.broker import EmbeddedBroker
from usagepipe.local.children import Child, Children
from usagepipe.local.demo.balance import Balance, balance
from usagepipe.local.demo.gateway import GatewayCounters
from usagepipe.local.demo.plan import plan
from usagepipe.local.demo.progress import ProgressBars
from usagepipe.local.demo.replay import Sent, replay
from usagepipe.local.demo.sandbox import Sandbox
from usagepipe.local.demo.tables import Tables
from usagepipe.local.demo.trace import TraceRow
from usagepipe.local.servers import LocalClickHouse, LocalServers
from usagepipe.query import UsageQueries
from usagepipe.query.answers import KeyUsage, RollUp, SourceUsage
from usagepipe.query.explanations import ExplainedEvent
from usagepipe.schemas.prices import Pricer, builtin_book

GATEWAY_COMMAND = (sys.executable, "-P", "-m", "usagepipe.local.demo.gateway")
WORKER_COMMAND = (sys.executable, "-P", "-c", "from usagepipe.cli import main; main()", "worker")

GATEWAY_SECONDS = 30.0  # to start, and to deliver what is left
STALLED_SECONDS = 60.0  # without a further stored event: the worker will not get on
WORKER_SECONDS = 30.0  # to drain and stop
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of a run. `kafka` or `clickhouse` None: a local one. `refusals`: see `plan`."""

    rows: Sequence[TraceRow]
    refusals: bool
    seed: int
    speed: float | None
    kafka: str | None
    clickhouse: str | None
    data: Path | None
    keep: bool


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run. `database` was removed, unless the options keep it.

    `example` is one of the priced events, None if there is none.
    """

    database: str
    sources: RollUp[SourceUsage]
    keys: RollUp[KeyUsage]
    balance: Balance
    example: ExplainedEvent | None


def run(wanted: Plan, progress: ProgressBars) -> Result:
    """Run the whole pipeline once. Blocks, in the main thread.

    Raises:
        ServerUnavailableError: a server does not answer.
        ChildEndedError: a part of the pipeline died; the message has its last words.
        UsagePipeError: something else went wrong. A sum that does not balance is no error here.
    """
    tempfile.gettempdir()  # tries the folder once, with a file that a Ctrl-C would leave there
    with ExitStack() as stack:
        progress.stage("Starting servers")
        sandbox = _open_sandbox(wanted, stack)
        progress.stage("Creating tables and topics")
        sandbox.create(
            stack,  # a temporary server takes all that is on it along
            drop=bool(wanted.clickhouse or wanted.data) and not wanted.keep,
            delete=bool(wanted.kafka) and not wanted.keep,
        )
        progress.stage("Starting worker and gateway")
        children = stack.enter_context(Children())
        worker = children.start("worker", WORKER_COMMAND, sandbox.environment)
        command = (*GATEWAY_COMMAND, "--seed", str(wanted.seed))
        gateway = children.start("gateway", command, sandbox.environment)
        pricer = Pricer(builtin_book())  # the worker's too: no book was applied in this database
        address = json.loads(gateway.read_line(GATEWAY_SECONDS))["gateway"]
        progress.stage("Sending requests")
        sent = asyncio.run(_send(wanted, address, children, gateway, progress, pricer))
        progress.stage("Closing the gateway")
        counters = _close_gateway(children, gateway)
        progress.stage("Waiting for the worker")
        tables = stack.enter_context(closing(Tables(sandbox.settings)))
        _await_stored(tables, counters.delivered, children, progress)
        # Stopped before the sums are read, so that late or repeated rows are counted too.
        children.stop(worker, WORKER_SECONDS)
        return _add_up(sandbox, tables, sent, counters)


def _open_sandbox(wanted: Plan, stack: ExitStack) -> Sandbox:
    """The run's own names, on the given servers or on local ones."""
    kafka, clickhouse = wanted.kafka, wanted.clickhouse
    if clickhouse is None:
        data = wanted.data or Path(stack.enter_context(_temporary_folder()))
        servers = LocalServers(data) if kafka is None else LocalClickHouse(data)
        stack.enter_context(servers)
        clickhouse = servers.clickhouse
        kafka = kafka or servers.kafka
    if kafka is None:
        kafka = stack.enter_context(EmbeddedBroker()).address
    return Sandbox.of(
        kafka,
        clickhouse,
        datetime.now(UTC),
        local_kafka=wanted.kafka is None,
        local_clickhouse=wanted.clickhouse is None,
    )


def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="usagepipe-demo-", ignore_cleanup_errors=True)


async def _send(
    wanted: Plan,
    address: str,
    children: Children,
    gateway: Child,
    progress: ProgressBars,
    pricer: Pricer,
) -> Sent:
    """Replay the trace, and watch the other processes meanwhile."""
    requests = plan(wanted.rows, wanted.seed, refusals=wanted.refusals)
    sending = asyncio.create_task(replay(requests, address, wanted.speed, progress.sent, pricer))
    while not sending.done():
        await asyncio.wait([sending], timeout=POLL_SECONDS)
        children.check()
    if sending.exception() is not None:
        gateway.check(grace_seconds=1)  # a dead process is the real cause
    return sending.result()


def _close_gateway(children: Children, gateway: Child) -> GatewayCounters:
    """Stop the gateway, which first delivers its queued events; returns its counters."""
    gateway.terminate()
    line = gateway.read_line(GATEWAY_SECONDS)
    children.stop(gateway, GATEWAY_SECONDS)
    return GatewayCounters(**json.loads(line))


def _await_stored(tables: Tables, events: int, children: Children, progress: ProgressBars) -> None:
    """Return when all events are stored, or when no more arrive."""
    stored = tables.stored_events()
    deadline = time.monotonic() + STALLED_SECONDS
    while stored < events and time.monotonic() < deadline:
        progress.stored(stored)
        children.check()
        time.sleep(POLL_SECONDS)
        before, stored = stored, tables.stored_events()
        if stored > before:
            deadline = time.monotonic() + STALLED_SECONDS
    progress.stored(stored)


def _add_up(sandbox: Sandbox, tables: Tables, sent: Sent, counters: GatewayCounters) -> Result:
    with UsageQueries.connect(sandbox.settings) as queries:
        sources = queries.by_source("all")
        keys = queries.by_key("all", limit=max(1, len(sent.by_key) * 2))
    counts = (tables.count_events(), tables.count_rollups())
    return Result(
        sandbox.database,
        sources,
        keys,
        balance(sent, counters, *counts, sources.rows, keys.rows),
        tables.explain_one(),
    )

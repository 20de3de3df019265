"""`usagepipe demo`: the whole pipeline on a trace of requests, and a check of its sums."""

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import click
from rich.console import Console

from usagepipe.cli.explain_output import print_explained
from usagepipe.cli.options import Number, load_settings, server_options
from usagepipe.local.demo.progress import ProgressBars
from usagepipe.local.demo.report import print_balance, print_usage
from usagepipe.local.demo.run import Plan, Result, run
from usagepipe.local.demo.trace import (
    DEFAULT_REQUESTS,
    MAX_REQUESTS,
    TraceRow,
    read_trace,
    synthesize,
)
from usagepipe.local.ports import HOST, free_port
from usagepipe.schemas.logs import configure_logs, quiet_driver
from usagepipe.schemas.settings import ClickHouseAddress, Settings

DOES_NOT_BALANCE = 1
PASSWORD_VARIABLE: Final = "USAGEPIPE_CLICKHOUSE_PASSWORD"
TERMINATED = 128 + signal.SIGTERM


@click.command("demo")
@click.option(
    "--trace",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens; else a made-up trace.",
)
@click.option(
    "--requests",
    metavar="N",
    type=click.IntRange(1, MAX_REQUESTS),
    help=f"Number of requests to send.  [default: all of FILE, else {DEFAULT_REQUESTS}]",
)
@click.option("--seed", default=1, show_default=True, metavar="N", help="Who calls, and for what.")
@click.option(
    "--speed",
    metavar="FACTOR",
    type=Number(min=0, min_open=True),
    help="1 is the trace's own speed, 60 replays an hour per minute.  [default: no pauses]",
)
@server_options("kafka", "clickhouse")
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the local ClickHouse.  [default: a temporary one]",
)
@click.option("--keep", is_flag=True, help="Keep the run's database and topics.")
def command(
    trace: Path | None,
    requests: int | None,
    seed: int,
    speed: float | None,
    data: Path | None,
    keep: bool,
    **servers: str | None,
) -> int:
    """Run the whole pipeline on a trace of requests, and check its sums.

    Starts a local Kafka and ClickHouse unless you name yours, then the worker and an example
    gateway with the middleware. Sends the requests over HTTP, and shows usage by source and by
    key. Exit status 1: the sums differ from what was sent.

    The run uses its own database and topics and removes them: it does not touch your tables.
    """
    settings = load_settings(Settings, **servers)
    configure_logs("warning")
    quiet_driver()
    given = settings.model_fields_set
    own = settings.clickhouse.get_secret_value() if "clickhouse" in given else None
    if keep and data is None and own is None:
        raise click.UsageError(
            "--keep needs --data or --clickhouse: a temporary folder is deleted at the end."
        )
    wanted = Plan(
        rows=_rows(trace, requests, seed),
        refusals=trace is None,
        seed=seed,
        speed=speed,
        kafka=settings.kafka if "kafka" in given else None,
        clickhouse=own,
        data=data,
        keep=keep,
    )
    with _ends_on_sigterm(), ProgressBars(len(wanted.rows)) as bars:
        result = run(wanted, bars)
    is_proven = _print_result(result)
    if keep:
        address = settings.clickhouse_address if own else None
        click.echo(_where(result, address, data))
    return 0 if is_proven else DOES_NOT_BALANCE


def _print_result(result: Result) -> bool:
    """Print the report. Whether all sums are those that were sent, and a cost is explained."""
    console, example = Console(), result.example
    print_usage(console, result)
    if example is not None:
        console.print("The cost of one request, as usagepipe explain shows it\n", style="bold")
        print_explained(example)
        click.echo()
    print_balance(console, result)
    return not result.balance.differences and (example is None or example.is_proven)


def _rows(trace: Path | None, requests: int | None, seed: int) -> list[TraceRow]:
    if trace is not None:
        return read_trace(trace, requests)
    return synthesize(requests or DEFAULT_REQUESTS, seed)


def _where(result: Result, own: ClickHouseAddress | None, data: Path | None) -> str:
    """The commands that show the kept data, ready to copy."""
    start, url = "See it:", _url(own, result.database) if own else ""
    if own is None and data is not None:
        port = free_port()  # the one of the run is gone, and the next run would have another
        url = f"http://{HOST}:{port}/{result.database}"
        start = (
            "Start its server:\n"
            f"  usagepipe local --data {shlex.quote(str(data.absolute()))} --no-kafka"
            f" --clickhouse-port {port}\n"
            "and see it, in another terminal:"
        )
    lines = [
        f"Kept: the database {result.database}. {start}",
        f"  usagepipe usage --clickhouse {url} --period all",
    ]
    if result.example is not None:
        lines.append(f"  usagepipe explain --clickhouse {url} {result.example.event.event_id}")
    return "\n".join(lines)


def _url(address: ClickHouseAddress, database: str) -> str:
    """A word for a shell. The password stays a variable, because output may be stored."""
    if not address.password:
        return shlex.quote(address.url(database, ""))
    return f'"{address.url(database, f"${PASSWORD_VARIABLE}")}"'


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does: its default would leave servers running.

    It raises SIGINT, on which asyncio cancels its tasks. An exception raised here would surface in
    the running task, as an unexpected error.
    """
    terminated = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt):  # ignored, as in a shell's background jobs
            raise KeyboardInterrupt
        interrupt(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        if terminated:
            raise SystemExit(TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)

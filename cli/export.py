"""`usagepipe export`: the stored events of a range as a file."""

import sys
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import datetime
from pathlib import Path

import click

from usagepipe.cli.new_file import new_file
from usagepipe.cli.options import Moment, load_settings, server_options
from usagepipe.query import TimeRange
from usagepipe.query.event_export import Exported, export_events
from usagepipe.query.periods import EVER
from usagepipe.query.store import Store
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.export_file import Output
from usagepipe.schemas.logs import configure_logs, quiet_driver
from usagepipe.schemas.settings import QuerySettings

STDOUT = Path("-")


@click.command("export")
@server_options("clickhouse")
@click.option("--from", "start", type=Moment(), help="First moment, as 2026-01-31T14:30 (UTC).")
@click.option("--to", "end", type=Moment(), help="First moment after the range.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=STDOUT,
    metavar="FILE",
    help="File to write; it appears when it is complete.  [default: standard output]",
)
def command(
    clickhouse: str | None, start: datetime | None, end: datetime | None, output: Path
) -> None:
    """Write the stored events as JSON lines, each once, for usagepipe import.

    --from and --to refer to the start of the requests; without them, all events are written. The
    last line holds a checksum: an incomplete file is not imported. The file holds everything that
    raw events hold, names and tags too: protect it like the database.
    """
    span = TimeRange(start or EVER.start, end or EVER.end)
    settings = load_settings(QuerySettings, clickhouse=clickhouse)
    configure_logs(settings.log_level)
    quiet_driver()
    with closing(Store(connect(settings.clickhouse_address))) as store, _opened(output) as out:
        exported = export_events(store, span, out)
    sys.stdout.flush()
    _print_counts(exported)


def _opened(output: Path) -> AbstractContextManager[Output]:
    return nullcontext(sys.stdout.buffer) if output == STDOUT else new_file(output)


def _print_counts(exported: Exported) -> None:
    click.echo(f"Exported {exported.events:,} events.", err=True)
    if exported.copies:
        click.echo(
            f"{exported.copies:,} rows are copies of one of them and were left out: see usagepipe"
            " audit.",
            err=True,
        )

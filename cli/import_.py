"""`usagepipe import`: the events of an export that are not stored yet, sent to the topic."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO

import click

from usagepipe.cli.interrupts import INTERRUPTED, interrupt_noted
from usagepipe.cli.options import load_settings, server_options
from usagepipe.consumer.maintenance.import_events import EventImport
from usagepipe.schemas.clickhouse.client import usagepipe_errors
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.export_file import ExportReader
from usagepipe.schemas.logs import configure_logs, quiet_driver
from usagepipe.schemas.settings import StorageSettings
from usagepipe.schemas.visible import visible

NOT_ALL = 1


@click.command("import")
@click.argument("file", type=click.File("rb"))
@server_options("kafka", "clickhouse", "topic")
@click.option(
    "--restore",
    is_flag=True,
    help="For events recorded here: keep their producers' sequence numbers, which audits check.",
)
def command(file: BinaryIO, restore: bool, **servers: str | None) -> int:
    """Send the events of an export that are not stored yet to the topic of events.

    FILE is the output of usagepipe export, - is standard input. It is read completely first: if a
    line is wrong or missing, nothing is sent. Stored events are skipped, so an interrupted import
    can be started again. Workers store the events that were added.

    Exit status: 1 some events were not added; 2 the file is wrong; 3 a server became unreachable.
    """
    settings = load_settings(StorageSettings, **servers)
    _check(settings)
    configure_logs("warning")
    quiet_driver()
    with _seekable(file) as export:
        begin = export.tell()
        ExportReader(export).check()
        export.seek(begin)
        with usagepipe_errors(settings.clickhouse_address):
            return _import(settings, export, restore)


def _check(settings: StorageSettings) -> None:
    settings.check_retention()
    if not settings.dedup_days:
        raise WrongUseError(
            "USAGEPIPE_DEDUP_DAYS is 0: workers would store an event twice that two imports sent "
            "before it was stored. Set it to 1 or more, for the workers too."
        )


@contextmanager
def _seekable(file: BinaryIO) -> Iterator[BinaryIO]:
    """`file`, or a copy of it on disk if it can be read only once."""
    if file.seekable():
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        yield copy


def _import(settings: StorageSettings, export: BinaryIO, restore: bool) -> int:
    with (
        closing(EventImport(settings, keep_numbers=restore)) as events,
        interrupt_noted() as interrupted,
    ):
        try:
            events.run(ExportReader(export), interrupted)
        finally:
            _print_counts(events)
        if interrupted():
            click.echo("Interrupted: run it again for the rest.", err=True)
            return INTERRUPTED
    return NOT_ALL if events.raw_expired or events.refused else 0


def _print_counts(events: EventImport) -> None:
    """Print the result of an import, also when it was interrupted or failed."""
    click.echo(f"added {events.added}, skipped {events.skipped}")
    if events.raw_expired:
        click.echo(
            f"{events.raw_expired:,} events that are not stored are older than what raw keeps: they"
            " were not added, because the rollups may count them.",
            err=True,
        )
    if events.refused:
        click.echo(
            f"{events.refused:,} could not be added; the last one: {visible(events.refusal)}",
            err=True,
        )
    if events.unconfirmed:
        click.echo(
            f"{events.unconfirmed:,} were sent and not confirmed: they may have arrived. Run it"
            " again: an event is stored once.",
            err=True,
        )

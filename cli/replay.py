"""`usagepipe replay`: stores the rows that the tables lack of a part of the log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime

import click

from usagepipe.cli.options import Moment, Number, load_settings, server_options, wait_option
from usagepipe.consumer.maintenance.replay import Replayer
from usagepipe.consumer.maintenance.replay_plan import ReplayCounts, ReplayPart, ReplayRequest
from usagepipe.schemas.clickhouse.client import usagepipe_errors
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.logs import configure_logs
from usagepipe.schemas.settings import StorageSettings


@click.command("replay")
@server_options("kafka", "clickhouse", "topic", "group")
@click.option("--from", "start", type=Moment(), help="First moment, as 2026-01-31T14:30 (UTC).")
@click.option("--to", "end", type=Moment(), help="First moment after the range.")
@click.option("--partition", type=click.IntRange(min=0), help="Only this one.")
@click.option("--from-offset", type=click.IntRange(min=0), help="First offset; needs --partition.")
@click.option(
    "--to-offset", type=click.IntRange(min=0), help="First offset after them; needs --partition."
)
@click.option(
    "--progress-group",
    metavar="NAME",
    help="Consumer group that keeps the progress  [default: the workers' group and .replay].",
)
@click.option("--rate", type=Number(min=1), help="Maximum records per second.")
@click.option("--dry-run", is_flag=True, help="Count what would be stored and change nothing.")
@wait_option(60.0, "Longest wait for rollups that are being written.")
def command(
    start: datetime | None,
    end: datetime | None,
    partition: int | None,
    from_offset: int | None,
    to_offset: int | None,
    progress_group: str | None,
    rate: float | None,
    dry_run: bool,
    wait: float,
    **servers: str | None,
) -> None:
    """Store the rows that the tables lack of a part of the log.

    Rows that are stored already do not change, so a second run changes nothing. --from and --to
    select by the time at which the broker received a record.

    It never reads beyond the committed offset of --group: the workers will store later records. An
    interrupted replay resumes when it is started again with the same range. Run one replay of a
    topic at a time.
    """
    request = ReplayRequest(partition, start, end, from_offset, to_offset)
    _check(request)
    settings = load_settings(StorageSettings, **servers)
    settings.check_retention()
    configure_logs("warning")
    progress_group = progress_group or f"{settings.group}.replay"
    with (
        usagepipe_errors(settings.clickhouse_address),
        closing(Replayer(settings, progress_group, wait)) as replayer,
    ):
        parts = replayer.plan(request)
        _print_parts(parts, settings.topic, settings.group)
        with _progress(sum(part.offsets for part in parts)) as on_progress:
            counts = replayer.run(
                parts, request, dry_run=dry_run, rate=rate, on_progress=on_progress
            )
    _print_counts(counts, dry_run)


def _check(request: ReplayRequest) -> None:
    by_offset = request.start_offset is not None or request.end_offset is not None
    by_time = request.start is not None or request.end is not None
    if by_offset and request.partition is None:
        raise WrongUseError("--from-offset and --to-offset need --partition.")
    if by_offset and by_time:
        raise WrongUseError("Give offsets or times, not both.")
    if request.start and request.end and request.start >= request.end:
        raise WrongUseError("--to must lie after --from.")
    first, end = request.start_offset, request.end_offset
    if first is not None and end is not None and first >= end:
        raise WrongUseError("--to-offset must lie after --from-offset.")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, label="Replaying", file=sys.stderr) as bar:
        yield bar.update


def _print_parts(parts: list[ReplayPart], topic: str, group: str) -> None:
    for part in parts:
        where = f"{topic}, partition {part.partition}"
        if part.resumed:
            click.echo(f"{where}: resumes at offset {part.first}.", err=True)
        if part.requested_end is not None:
            click.echo(
                f"{where}: ends before offset {part.end}, not {part.requested_end}: the workers "
                f"({group}) will store the rest.",
                err=True,
            )


def _print_counts(counts: ReplayCounts, dry_run: bool) -> None:
    stored = "would be stored" if dry_run else "stored now"
    click.echo(
        f"{counts.records:,} records: {counts.stored:,} were stored, {counts.duplicates:,} are "
        f"duplicates of stored events, {counts.rejected:,} are dead letters, "
        f"{counts.written:,} {stored}."
    )
    if counts.raw_expired:
        click.echo(
            f"{counts.raw_expired:,} have no row and are older than what raw keeps: they were left "
            "alone, because the rollups may count them."
        )
    if counts.rebuilt:
        click.echo(f"{counts.rebuilt:,} rows added to the rollups.")

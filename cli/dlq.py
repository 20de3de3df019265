"""`usagepipe dlq`: list, show and replay dead letters."""

import re
import sys
from collections import Counter
from contextlib import closing
from datetime import datetime
from typing import Any

import click

from usagepipe.cli import dlq_output, dlq_parked
from usagepipe.cli.interrupts import INTERRUPTED, interrupt_noted
from usagepipe.cli.operator import confirmed
from usagepipe.cli.options import Moment, combined, load_settings, server_options
from usagepipe.consumer.dead_letters.listing import Listing
from usagepipe.consumer.dead_letters.record import DeadLetter, Envelope, Selection
from usagepipe.consumer.dead_letters.replay import (
    DeadLetterReplay,
    OriginalRecords,
    replayable,
    why_missing,
)
from usagepipe.consumer.dead_letters.topic import DeadLetterTopic
from usagepipe.schemas.errors import UsagePipeError, WrongUseError
from usagepipe.schemas.settings import StorageSettings
from usagepipe.schemas.visible import visible

NOT_ALL = 1
DECLINED = 1
SHOWN_BYTES = 4_096


class OffsetRange(click.ParamType):
    """One offset, or the first and the last of several: `120-340`."""

    name = "offset"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,19})(?:-(\d{1,19}))?", value, re.ASCII)
        if found is None:
            self.fail(f"{value!r} is not an offset: write 120, or 120-340 with both ends in it.")
        first, last = int(found[1]), int(found[2] or found[1])
        if first > last:
            self.fail(f"{value!r} ends before it begins: write the smaller offset first.")
        return first, last


_filter_options = combined(
    click.option(
        "--reason",
        "reasons",
        metavar="WORD",
        multiple=True,
        help="Only dead letters with this reason; may be given several times.",
    ),
    click.option(
        "--from",
        "start",
        type=Moment(),
        help="First moment, as 2026-01-31T14:30 (UTC), of the dead letters' arrival.",
    ),
    click.option("--to", "end", type=Moment(), help="First moment after the range."),
    click.option(
        "--partition",
        "partitions",
        type=click.IntRange(min=0),
        multiple=True,
        help="Of the records; may be given several times.",
    ),
    click.option(
        "--offset", "offsets", type=OffsetRange(), metavar="A[-B]", help="Of the records."
    ),
    click.option("--topic-id", metavar="ID", help="Only records of the topic of this id."),
)


@click.group("dlq")
def command() -> None:
    """List, show and replay dead letters; show and release parked partitions.

    A dead letter is a record of the topic of events that could not be stored: its untouched bytes,
    with the reason. A dead letter that was written twice because of a crash counts as one.

    If too many records are refused, their partition is parked before they become dead letters.
    """


command.add_command(dlq_parked.parked)
command.add_command(dlq_parked.release)


@command.command("list")
@server_options("kafka", "topic")
@_filter_options
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@click.option("--summary", is_flag=True, help="Count the dead letters of each reason instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_dead_letters(
    kafka: str | None,
    topic: str | None,
    limit: int,
    summary: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """List dead letters, oldest first, without the content of their records.

    --from and --to select by the time at which a dead letter was written. The time of its record is
    shown beside it.
    """
    selection = _selection(**filters)
    settings = load_settings(StorageSettings, kafka=kafka, topic=topic)
    with closing(DeadLetterTopic(settings)) as letters:
        listing = Listing.of(letters.read(selection), 0 if summary else limit)
        _warn_of_others(letters)
    if summary:
        dlq_output.print_summary(listing, letters.topic, as_json=as_json)
    else:
        dlq_output.print_list(listing, letters.topic, as_json=as_json)


@command.command("show")
@click.argument("partition", type=click.IntRange(min=0))
@click.argument("offset", type=click.IntRange(min=0))
@server_options("kafka", "topic")
@click.option("--topic-id", metavar="ID", help="Of the topic, if it was deleted and created again.")
@click.option(
    "--max-bytes",
    type=click.IntRange(0),
    default=SHOWN_BYTES,
    show_default=True,
    help="Maximum bytes shown of the key, and of the value.",
)
@click.option("--raw", is_flag=True, help="Write only the value's bytes.")
def show(
    partition: int,
    offset: int,
    kafka: str | None,
    topic: str | None,
    topic_id: str | None,
    max_bytes: int,
    raw: bool,
) -> None:
    """Show the dead letter of the record at OFFSET of PARTITION.

    It prints the record's key and value, which may be confidential: a broken producer may send
    anything. Bytes that are not text are shown as hexadecimal digits. A value that was too large
    for its dead letter is read from the record's own topic, if the topic still has it.
    """
    settings = load_settings(StorageSettings, kafka=kafka, topic=topic)
    selection = Selection(
        partitions=frozenset([partition]), offsets=(offset, offset), topic_id=topic_id
    )
    letter, copies = _only_letter(settings, selection)
    value = letter.value
    if letter.envelope.value_omitted:
        with closing(OriginalRecords(settings)) as original_records:
            value = (original_records.read(letter.envelope) or (None, None))[1]
    if not raw:
        dlq_output.print_letter(letter, value, copies, max_bytes)
    elif value is not None:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    elif letter.envelope.value_omitted:
        raise UsagePipeError(why_missing(letter.envelope))
    else:
        raise UsagePipeError("The record has no value.")


@command.command("replay")
@server_options("kafka", "topic")
@_filter_options
@click.option("--limit", type=click.IntRange(1), help="Maximum number, oldest first.")
@click.option("--dry-run", is_flag=True, help="Print how many there are, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay(
    kafka: str | None,
    topic: str | None,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    **filters: Any,
) -> int:
    """Send the records of dead letters to the topic of events again.

    Use it when the cause is fixed: a table was repaired, or a newer version knows the schema. Key
    and value are sent unchanged, once for each dead letter. A value that was too large for its dead
    letter is read from the record's own topic. The dead letters stay on their topic. Dead letters
    of the reason `gap` hold no event and are skipped.

    Valid events are stored once, however often they are replayed. A record that still cannot be
    stored becomes a new dead letter with new coordinates. Choose by --reason, and the next time by
    --from as well, or it is replayed twice. Try a few first (--limit): if too many in a row are
    refused, their partition is parked (usagepipe dlq parked).

    Exit status 1: some could not be replayed, or you declined.
    """
    selection = replayable(_selection(**filters))
    settings = load_settings(StorageSettings, kafka=kafka, topic=topic)
    with closing(DeadLetterTopic(settings)) as letters:
        if dry_run or not yes:
            counts = Counter(
                each.envelope.reason for each in letters.read_distinct(selection, limit)
            )
            dlq_output.print_plan(counts, settings.topic)
            if dry_run or not counts:
                _warn_of_others(letters)
                return 0
            if not confirmed("Replay them?", "replay them"):
                click.echo("Nothing was replayed.", err=True)
                return DECLINED
        return _replay(settings, letters, selection, limit)


def _replay(
    settings: StorageSettings, letters: DeadLetterTopic, selection: Selection, limit: int | None
) -> int:
    with (
        closing(DeadLetterReplay(settings, settings.topic, _print_skipped)) as replay,
        interrupt_noted() as interrupted,
    ):
        try:
            replay.run(letters.read_distinct(selection, limit), interrupted)
        finally:
            dlq_output.print_replayed(replay, settings.topic)
        _warn_of_others(letters)
        if interrupted():
            click.echo("Interrupted: the rest was not replayed.", err=True)
            return INTERRUPTED
    return NOT_ALL if replay.skipped else 0


def _selection(
    reasons: tuple[str, ...],
    partitions: tuple[int, ...],
    offsets: tuple[int, int] | None,
    topic_id: str | None,
    start: datetime | None,
    end: datetime | None,
) -> Selection:
    if start is not None and end is not None and start >= end:
        raise WrongUseError(f"--from {start.isoformat()} is not before --to {end.isoformat()}.")
    return Selection(frozenset(reasons), frozenset(partitions), offsets, topic_id, start, end)


def _only_letter(settings: StorageSettings, selection: Selection) -> tuple[DeadLetter, int]:
    """The only selected dead letter, and how many copies there are."""
    found: dict[str, DeadLetter] = {}
    copies = 0
    with closing(DeadLetterTopic(settings)) as letters:
        for letter in letters.read(selection):
            found.setdefault(letter.envelope.coordinates.topic_id, letter)
            copies += 1
    if not found:
        raise UsagePipeError(f"There is no dead letter of that record on {letters.topic}.")
    if len(found) > 1:
        raise WrongUseError(
            "Topics of this name were created several times, each with such a dead letter:"
            f" add --topic-id {' or --topic-id '.join(map(visible, found))}."
        )
    return found.popitem()[1], copies


def _print_skipped(envelope: Envelope, why: str) -> None:
    _, partition, offset = envelope.coordinates
    click.echo(f"Not replayed: partition {partition} offset {offset}: {visible(why)}", err=True)


def _warn_of_others(letters: DeadLetterTopic) -> None:
    if letters.other_records:
        click.echo(
            f"Warning: {letters.other_records:,} records on {letters.topic} are not dead letters"
            " and are skipped.",
            err=True,
        )

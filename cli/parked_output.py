"""Prints parked partitions as cards, which fit a narrow terminal."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import click

from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.maintenance.dlq_parked import ParkedPartition
from usagepipe.consumer.parking.limits import RATIO_VARIABLE, RUN_VARIABLE
from usagepipe.consumer.parking.parked import Parked
from usagepipe.consumer.parking.table import Mode
from usagepipe.query.cards import json_text
from usagepipe.schemas.settings import StorageSettings
from usagepipe.schemas.visible import visible

WIDEST: Final = 100  # longer lines are hard to read


def print_parked(
    found: Sequence[ParkedPartition], settings: StorageSettings, *, as_json: bool
) -> None:
    """A card for each parked partition, which fits a narrow terminal."""
    if as_json:
        for each in found:
            click.echo(json_text(each.fields()))
        return
    if not found:
        click.echo(f"No partition of {settings.topic} is parked, group {settings.group}.")
    for each in found:
        _print_card(_parked_lines(each, settings))


def print_range(parked: Parked) -> None:
    """A card with the parked range, why it is parked, and what to do."""
    _print_card(
        (
            ("", _heading(parked)),
            ("offsets", str(parked.range)),
            ("why", parked.why),
            ("what to do", parked.cure),
        )
    )


def print_release(waiting: ParkedPartition, mode: Mode, last: int) -> None:
    """Print the operator's decision and what happens next."""
    parked = waiting.parked
    number = parked.partition.partition
    if mode is Mode.RETRY:
        text = f"Partition {number}: offsets {parked.range} are read and checked again."
    else:
        chosen = OffsetRange(parked.first, max(last, parked.first))
        text = (
            f"Partition {number}: in offsets {chosen}, refused records become dead letters and "
            "events are stored."
        )
        if (unseen := chosen.last - parked.last) > 0:
            text += (
                f" {unseen:,} of them are after the parked range, and no worker has read them yet"
                " (--last-offset ends earlier)."
            )
    text += (
        " Its worker resumes within seconds; until then usagepipe dlq parked lists the partition."
    )
    _print_wrapped("", text)


def _parked_lines(waiting: ParkedPartition, settings: StorageSettings) -> Iterator[tuple[str, str]]:
    parked, report = waiting.parked, waiting.parked.report
    yield "", _heading(parked)
    yield "offsets", f"{parked.range}; {waiting.waiting_after:,} more wait after them"
    yield "why", parked.why
    for name, reason in report.reasons.items():
        for detail in dict.fromkeys(sample.detail for sample in reason.samples):
            offsets = [str(each.offset) for each in reason.samples if each.detail == detail]
            yield "sample", f"{name} at offset {', '.join(offsets)}: {detail}"
    yield "limits", (f"{RUN_VARIABLE}={report.limits.run}, {RATIO_VARIABLE}={report.limits.ratio}")
    yield "worker", f"{parked.worker}, group {settings.group}"
    if waiting.release is None:
        yield "what to do", parked.cure
    else:
        release = waiting.release
        yield (
            "released",
            (
                f"with --{release.mode} up to offset {release.last} by {release.author}, "
                f"{_moment(release.noted_at)}; no worker has acted on it yet"
            ),
        )


def _heading(parked: Parked) -> str:
    number = f"Partition {parked.partition.partition} of {parked.partition.topic}"
    return f"{number} is parked since {_moment(parked.since)}."


def _print_card(lines: Iterable[tuple[str, str]]) -> None:
    for name, text in lines:
        _print_wrapped(name, text)
    click.echo()


def _print_wrapped(name: str, text: str) -> None:
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    indent = "  " if name else ""
    click.echo(
        textwrap.fill(
            visible(text),
            width,
            initial_indent=f"{indent}{name + ':':<12}" if name else "",
            subsequent_indent=" " * 14 if name else "",
            break_on_hyphens=False,
        )
    )


def _moment(moment: datetime | None) -> str:
    return "an unknown time" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"

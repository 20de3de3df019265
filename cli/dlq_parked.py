"""`usagepipe dlq parked` and `dlq release`: partitions that wait for an operator."""

from collections.abc import Sequence

import click

from usagepipe.cli import parked_output
from usagepipe.cli.operator import author
from usagepipe.cli.options import load_settings, server_options
from usagepipe.consumer.maintenance.dlq_parked import (
    ParkedPartition,
    read_parked_partitions,
    release_partition,
)
from usagepipe.consumer.parking.table import Mode
from usagepipe.schemas.clickhouse.client import usagepipe_errors
from usagepipe.schemas.errors import UsagePipeError, WrongUseError
from usagepipe.schemas.settings import StorageSettings


@click.command("parked")
@server_options("kafka", "clickhouse", "topic", "group")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def parked(as_json: bool, **servers: str | None) -> None:
    """Show parked partitions: what waits there, since when and why.

    A worker parks a partition when more of its records are refused than the limits on dead letters
    allow. Nothing of the shown range is committed, and none of it is a dead letter yet. The other
    partitions continue.
    """
    settings = load_settings(StorageSettings, **servers)
    with usagepipe_errors(settings.clickhouse_address):
        found = read_parked_partitions(settings)
    parked_output.print_parked(found, settings, as_json=as_json)


@click.command("release")
@click.argument("partitions", metavar="PARTITION...", type=click.IntRange(min=0), nargs=-1)
@click.option("--all", "every", is_flag=True, help="All parked partitions.")
@click.option("--letters", is_flag=True, help="Turn refused records into dead letters.")
@click.option("--retry", is_flag=True, help="Read and check the range again.")
@click.option(
    "--last-offset",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --letters: the last offset. [default: the last one on the topic now]",
)
@server_options("kafka", "clickhouse", "topic", "group")
def release(
    partitions: tuple[int, ...],
    every: bool,
    letters: bool,
    retry: bool,
    last_offset: int | None,
    **servers: str | None,
) -> None:
    """Release a parked PARTITION: its worker resumes.

    --retry: the worker reads the range again. Use it when the cause is fixed: the worker or a
    table. If the range still exceeds a limit, the partition is parked again.

    --letters: in the range, and in what is on the topic after it now, each refused record becomes a
    dead letter and each event is stored. For later records the limits count from zero.

    The decision is kept in ClickHouse for exactly this range of this topic. It reaches the worker
    that has the partition, also after a restart. It can be repeated.
    """
    if letters == retry:
        raise WrongUseError("Give one of --letters and --retry.")
    if bool(partitions) == every:
        raise WrongUseError("Name the partitions, or give --all.")
    if last_offset is not None and retry:
        raise WrongUseError("--last-offset needs --letters.")
    mode = Mode.RETRY if retry else Mode.LETTERS
    settings = load_settings(StorageSettings, **servers)
    with usagepipe_errors(settings.clickhouse_address):
        chosen = _chosen(read_parked_partitions(settings), partitions)
        lasts = [_last(each, mode, last_offset) for each in chosen]  # all, before one is released
        for each, last in zip(chosen, lasts, strict=True):
            release_partition(settings, each, mode, last, author())
            parked_output.print_release(each, mode, last)


def _chosen(found: Sequence[ParkedPartition], partitions: Sequence[int]) -> list[ParkedPartition]:
    by_number = {each.parked.partition.partition: each for each in found}
    if missing := [number for number in partitions if number not in by_number]:
        numbers = ", ".join(map(str, missing))
        there = ", ".join(map(str, by_number)) or "none"
        raise UsagePipeError(f"Not parked: partition {numbers}. Parked partitions: {there}.")
    if not found:
        raise UsagePipeError("No partition is parked.")
    return [by_number[number] for number in partitions] or list(found)


def _last(waiting: ParkedPartition, mode: Mode, last_offset: int | None) -> int:
    """The last offset of the release.

    A release beyond the log's end would exempt future records from the limits.

    Raises:
        WrongUseError: the offset that was given is before the parked range or not on the topic.
    """
    parked, last = waiting.parked, waiting.end - 1
    if mode is Mode.RETRY:
        return parked.last
    if last_offset is None:
        return last
    name = f"--last-offset {last_offset}"
    if last_offset < parked.first:
        raise WrongUseError(f"{name} is before the parked range {parked.range}.")
    if last_offset > last:
        raise WrongUseError(
            f"{name} is after the end of partition {parked.partition.partition}: its last offset"
            f" is {last}. Give an offset from {parked.first} to {last}, or leave the option out"
            f" for {last}."
        )
    return last_offset

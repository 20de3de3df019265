"""Prints a status: sentences and a table, or one JSON object."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import click

from usagepipe.cli import parked_output
from usagepipe.consumer.log.offset_ranges import ranges_of
from usagepipe.consumer.maintenance.status import PartitionStatus, Status
from usagepipe.consumer.topics.group_offsets import NO_GROUP
from usagepipe.query.cards import Cards, iso_text, json_text, terminal
from usagepipe.schemas.visible import visible

COLUMNS: Final = ("partition", "waiting", "oldest waits", "newest stored", "consumer")
NONE: Final = "-"


def print_status(found: Status, *, as_json: bool) -> None:
    """Print the status. Client ids are untrusted: control characters never reach a terminal."""
    if as_json:
        click.echo(json_text(_fields(found)))
        return
    for sentence in _sentences(found):
        click.echo(visible(sentence))
    rows = (_cells(each, found) for each in found.partitions)
    terminal().print(Cards("", COLUMNS, rows, words=("consumer",)))
    if found.unconsumed:
        numbers = [each.partition for each in found.unconsumed]
        click.echo(visible(unconsumed_text(numbers, found.group)))
    for parked in found.parked:
        parked_output.print_range(parked)


def _sentences(found: Status) -> Iterator[str]:
    yield f"Group {found.group} on {found.topic}{_state(found)}."
    for each in found.members:
        at = f" at {each.host}" if each.host else ""
        yield f"  {each.client_id}{at}: {_partitions(each.partitions)}"
    since = [each.waiting_since for each in found.partitions if each.waiting_since]
    oldest = f"; the oldest arrived {_ago(found, min(since))}" if since else ""
    yield f"{found.waiting:,} records wait to be stored{oldest}."
    if found.newest_stored_at:
        yield f"The newest stored event arrived {_ago(found, found.newest_stored_at)}."
    elif not found.problems:
        yield "No event of this topic is stored."
    letters = ", ".join(f"{count:,} {reason}" for reason, count in found.dead_letters.items())
    yield f"Dead letters of the last hour: {letters or 'none'}."


def _state(found: Status) -> str:
    count = len(found.members)
    if not count and found.state == NO_GROUP:
        return " does not exist yet"
    return f": {found.state}, {count or 'no'} member{'' if count == 1 else 's'}"


def unconsumed_text(partitions: Collection[int], group: str) -> str:
    """The sentence about partitions with waiting records that no member consumes."""
    return (
        f"Nobody consumes {_partitions(partitions)}, where records wait: start usagepipe worker,"
        f" or check the group's name ({group})."
    )


def _cells(each: PartitionStatus, found: Status) -> tuple[str, ...]:
    return (
        str(each.partition),
        f"{each.waiting:,}",
        _ago(found, each.waiting_since).removesuffix(" ago"),
        _ago(found, each.newest_stored_at),
        each.member or NONE,
    )


def _partitions(numbers: Collection[int] | None) -> str:
    if numbers is None:
        return "the broker does not name its partitions"
    ranges: Sequence[object] = ranges_of(sorted(numbers))
    word = "partition" if len(numbers) == 1 else "partitions"
    return f"{word} {', '.join(map(str, ranges))}" if ranges else "no partitions"


def _ago(found: Status, moment: datetime | None) -> str:
    """An age in the largest unit that leaves a number of two digits, as `3.2 s ago`."""
    seconds = found.age(moment)
    if seconds is None:
        return NONE
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.1f} s ago"


def _fields(found: Status) -> dict[str, Any]:
    return {
        "at": iso_text(found.at),
        "topic": found.topic,
        "group": found.group,
        "state": found.state,
        "consumed": not found.unconsumed,
        "waiting": found.waiting,
        "members": [asdict(each) for each in found.members],
        "partitions": [_partition_fields(each, found) for each in found.partitions],
        "newest_stored": iso_text(found.newest_stored_at),
        "newest_stored_age_seconds": found.age(found.newest_stored_at),
        "parked": [each.fields() for each in found.parked],
        "dead_letters_last_hour": dict(found.dead_letters),
        "problems": [str(each) for each in found.problems],
    }


def _partition_fields(each: PartitionStatus, found: Status) -> dict[str, Any]:
    return {
        "partition": each.partition,
        "committed": each.committed,
        "end": each.end,
        "lag": each.waiting,
        "lag_seconds": found.age(each.waiting_since) if each.waiting else 0.0,
        "newest_stored": iso_text(each.newest_stored_at),
        "newest_stored_age_seconds": found.age(each.newest_stored_at),
        "member": each.member,
    }

"""Prints an audit. Names and ids are untrusted: control characters never reach a terminal."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from usagepipe.cli.status_output import unconsumed_text
from usagepipe.consumer.log.offset_ranges import OffsetRange, size
from usagepipe.consumer.maintenance.audit_queries import StoredTwice
from usagepipe.consumer.maintenance.audit_result import Audit, PartitionAudit
from usagepipe.consumer.maintenance.audit_sequences import SequenceGap
from usagepipe.consumer.rollups.verification import Difference
from usagepipe.query.cards import Cards, json_text, terminal
from usagepipe.schemas.gap import UsageGap
from usagepipe.schemas.visible import visible

MAX_LISTED: Final = 20  # findings of each kind; --json has all of them
# Where the offsets are: heading and name in JSON, and attribute of `PartitionAudit`.
_COUNTS: Final = {
    "log": "log",
    "stored": "stored",
    "letters": "dead_letters",
    "duplicates": "duplicates",
    "marks": "control_records",
    "aborted": "aborted",
    "pending": "pending",
    "backlog": "backlog",
    "missing": "missing",
    "missing_from_log": "missing_from_log",
    "raw_expired": "raw_expired",
}


def print_audit(found: Audit, *, as_json: bool) -> None:
    """Print the audit as a table and sentences, or as one JSON object."""
    if as_json:
        click.echo(json_text(_fields(found), default=str))
        return
    counts = (*_COUNTS, "twice")
    columns = ("partition", *counts, "committed")
    title = f"{found.topic}, group {found.group}"
    terminal().print(Cards(title, columns, map(_cells, found.partitions), counts=counts))
    for sentence in _sentences(found):
        click.echo(visible(sentence))
    click.echo(_verdict(found))


def _verdict(found: Audit) -> str:
    if not found.balances:
        return "It does not balance."
    waiting = f"{found.waiting:,} records wait to be stored"
    if found.unconsumed:
        return f"What is stored balances, but no worker stores the rest: {waiting}."
    if all(each.committed is None for each in found.partitions):
        return (
            f"It balances, but the group {visible(found.group)} has no committed offsets."
            " Is the group name right?"
        )
    return f"It balances; {waiting}." if found.waiting else "It balances."


def _cells(each: PartitionAudit) -> list[str]:
    counts = (getattr(each, attribute) for attribute in (*_COUNTS.values(), "doubled"))
    numbers = [f"{count if isinstance(count, int) else size(count):,}" for count in counts]
    committed = "none" if each.committed is None else str(each.committed)
    return [str(each.partition), *numbers, committed]


def _sentences(found: Audit) -> Iterator[str]:
    for each in found.partitions:
        yield from _of_partition(each)
    if found.unconsumed:
        yield unconsumed_text(found.unconsumed, found.group)
    yield from _first(found.stored_twice, _of_stored_twice, found.extra_rows)
    yield from _first(found.gaps, _of_gap)
    if any(gap.lost for gap in found.gaps) and not found.gaps_count:
        yield (
            "The events with the missing numbers may still wait in Kafka, be at one of the missing "
            "offsets, or have left raw after its retention."
        )
    yield from _first(found.differences, _of_difference)
    if found.undecided:
        yield found.undecided
    if found.compared_from:
        yield (
            f"Rollups were compared from {found.compared_from:%Y-%m-%d} on: raw rows of earlier "
            "days have left the table."
        )


def _of_partition(each: PartitionAudit) -> Iterator[str]:
    name = f"Partition {each.partition}"
    if each.problem:
        yield f"{name}: {each.problem}."
    if each.parked:
        yield f"{name} is parked at offsets {each.parked.range}: {each.parked.why}"
        yield (
            f"  {each.waiting:,} offsets wait. See usagepipe dlq parked, and "
            f"release it with usagepipe dlq release {each.partition} --letters or --retry."
        )
    if each.missing:
        yield f"{name}: missing offsets {_ranges(each.missing)}."
        for offset, event_id in list(each.missing_ids.items())[:MAX_LISTED]:
            yield f"  {offset}: {event_id}"
    yield from _of_log(each)
    if each.raw_expired:
        yield (
            f"{name}: {size(each.raw_expired):,} offsets have no row ({_ranges(each.raw_expired)}) "
            "and are older than what raw keeps: the rows of stored events have left it. Set "
            "USAGEPIPE_RAW_RETENTION_DAYS longer than the topic's retention."
        )
    if each.doubled:
        yield f"{name}: offsets stored more than once {_ranges(each.doubled)}."
    if each.expired:
        yield f"{name}: {each.expired:,} offsets left the log before they were stored."
    if each.beyond:
        yield f"{name}: {each.beyond:,} stored offsets are older than the log."
    if each.holes:
        yield (
            f"{name}: {size(each.holes):,} offsets between them have no row "
            f"({_ranges(each.holes)}): duplicates, transaction markers, or lost. The log no longer "
            "shows which."
        )


def _of_log(each: PartitionAudit) -> Iterator[str]:
    """Offsets whose records the log has lost, or replaced by others."""
    name = f"Partition {each.partition}"
    if each.missing_from_log:
        yield (
            f"{name}: the log has lost {size(each.missing_from_log):,} records that were not "
            f"stored, at offsets {_ranges(each.missing_from_log)}, though it has later ones: it "
            "was compacted or damaged. Keep cleanup.policy=delete on the topic. The records cannot "
            "be restored."
        )
    if each.diverged:
        yield (
            f"{name}: {size(each.diverged):,} offsets have rows of other events than the log has "
            f"there ({_ranges(each.diverged)}): the log lost its end and used the offsets again. "
            "The rows are right: their events were once in the log."
        )


def _of_stored_twice(event: StoredTwice) -> str:
    places = ", ".join(
        f"{topic_id}/{partition}/{offset}" for topic_id, partition, offset in event.places
    )
    return f"Event {event.event_id} is stored {len(event.places)} times: {places}."


def _of_gap(gap: SequenceGap) -> str:
    numbers = f"Producer {gap.producer_id}: no event has the numbers {_ranges(gap.missing)}."
    sentences = [numbers, *map(_of_report, gap.reports[:MAX_LISTED])]
    if gap.under_way:
        sentences.append(
            f"{gap.under_way:,} of them may still be on their way, or have left raw: the producer "
            "has not reported them as lost."
        )
    return " ".join(sentences)


def _of_report(gap: UsageGap) -> str:
    since, until = f"{gap.since:%Y-%m-%d %H:%M:%S}", f"{gap.until:%Y-%m-%d %H:%M:%S}"
    when = f"at {since}" if since == until else f"from {since} to {until}"
    return f"It lost {sum(gap.lost.values()):,} {when} UTC ({gap.losses})."


def _of_difference(difference: Difference) -> str:
    key = ", ".join(f"{name} {value!r}" for name, value in difference.key.items() if value)
    missing = ", ".join(f"{name} {number:+}" for name, number in difference.missing.items())
    place = f"{difference.table} {difference.bucket:%Y-%m-%d %H:%M} ({key})"
    return f"{place}: raw has {missing}" if missing else f"{place}: no cost where raw has"


def _first(items: Sequence[Any], sentence: Any, total: int | None = None) -> Iterator[str]:
    yield from (sentence(item) for item in items[:MAX_LISTED])
    if (left := max(total or 0, len(items)) - MAX_LISTED) > 0 and len(items) > MAX_LISTED:
        yield f"… and {left:,} more: see --json."


def _ranges(ranges: Sequence[OffsetRange]) -> str:
    listed = ", ".join(map(str, ranges[:MAX_LISTED]))
    left = len(ranges) - MAX_LISTED
    return listed if left <= 0 else f"{listed} and {left:,} more ranges"


def _fields(found: Audit) -> dict[str, Any]:
    return {
        "balances": found.balances,
        "topic": found.topic,
        "topic_id": found.topic_id,
        "group": found.group,
        "consumed": not found.unconsumed,
        "unconsumed": found.unconsumed,
        "partitions": [_partition_fields(each) for each in found.partitions],
        "doubled_rows": found.extra_rows,
        "doubled_events": [
            {"event_id": each.event_id, "places": each.places} for each in found.stored_twice
        ],
        "sequence_gaps": [
            {
                "producer_id": each.producer_id,
                "missing": each.missing,
                "under_way": each.under_way,
                "told": [
                    gap.model_dump(mode="json", exclude={"producer_id"}) for gap in each.reports
                ],
            }
            for each in found.gaps
        ],
        "sequence_gaps_count": found.gaps_count,
        "rollup_differences": [
            {
                "table": each.table,
                "bucket": each.bucket.isoformat(),
                "key": dict(each.key),
                "missing": dict(each.missing),
            }
            for each in found.differences
        ],
        "undecided": found.undecided,
        "compared_from": found.compared_from and found.compared_from.isoformat(),
    }


def _partition_fields(each: PartitionAudit) -> dict[str, Any]:
    return {
        "partition": each.partition,
        "low": each.low,
        "high": each.high,
        "committed": each.committed,
        **{name: getattr(each, attribute) for name, attribute in _COUNTS.items()},
        "copies": each.duplicates,  # their former name, for programs that read it
        "diverged": each.diverged,
        "missing_ids": {str(offset): name for offset, name in each.missing_ids.items()},
        "doubled": each.doubled,
        "expired": each.expired,
        "beyond": each.beyond,
        "holes": each.holes,
        "problem": each.problem,
        "parked": each.parked and each.parked.fields(),
    }

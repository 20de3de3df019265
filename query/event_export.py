"""Writes the stored events of a range to one file, each once, in the order of their time.

The table is sorted by arrival and the file by event time, and a year does not fit in memory. So it
counts the events per hour first, and reads hour by hour, small hours together.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from usagepipe.query.periods import TimeRange
from usagepipe.query.statements import statement
from usagepipe.query.store import Store
from usagepipe.schemas.clickhouse.client import WHOLE_ANSWERS
from usagepipe.schemas.errors import UsagePipeError
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.export_file import ExportWriter, Output, place_of

STRETCH_ROWS: Final = 100_000  # that are sorted at once; an hour that has more is a stretch alone
_HOUR: Final = timedelta(hours=1)


@dataclass(slots=True)
class Exported:
    """How many events an export wrote, and how many duplicate rows it skipped."""

    events: int = 0
    copies: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a range, and how many rows it had when they were counted."""

    span: TimeRange
    rows: int


def export_events(store: Store, span: TimeRange, out: Output) -> Exported:
    """Write the events that occurred in `span`. Blocks. The output is complete when it returns.

    Raises:
        ServerUnavailableError: ClickHouse does not answer.
        MigrationError: the tables are missing.
        UsagePipeError: a row is no event, or rows left the table meanwhile.
        OSError: raised by `out`, like its other errors.
    """
    exported = Exported()
    writer = ExportWriter(out, span.start, span.end)
    before = None
    for stretch in _stretches(store, span):
        for event in _events(store, stretch):
            place = place_of(event)
            if place == before:
                exported.copies += 1
                continue
            before = place
            writer.add(event)
    writer.finish()
    exported.events = writer.events
    return exported


def _stretches(store: Store, span: TimeRange) -> Iterable[Stretch]:
    counted = store.rows(statement("export_hours"), _bounds(span), WHOLE_ANSWERS)
    hours = [(datetime.fromtimestamp(row["hour"], UTC), row["events"]) for row in counted]
    return stretches(span, hours)


def stretches(span: TimeRange, hours: Iterable[tuple[datetime, int]]) -> Iterator[Stretch]:
    """`span` in parts around `hours`, which are in order, with the number of rows of each."""
    first, end, rows = span.start, span.start, 0
    for hour, more in hours:
        if rows and rows + more > STRETCH_ROWS:
            yield Stretch(TimeRange(first, end), rows)
            first, rows = end, 0
        end, rows = min(hour + _HOUR, span.end), rows + more
    if rows:
        yield Stretch(TimeRange(first, end), rows)


def _events(store: Store, stretch: Stretch) -> Iterator[UsageEvent]:
    rows = 0
    for event in store.events(statement("export_events"), _bounds(stretch.span)):
        rows += 1
        yield event
    if rows < stretch.rows:
        raise UsagePipeError(
            f"Of {stretch.rows:,} rows between {stretch.span.start.isoformat()} and "
            f"{stretch.span.end.isoformat()} ClickHouse gave {rows:,}: their retention has "
            "removed some meanwhile. Export again."
        )


def _bounds(span: TimeRange) -> dict[str, int]:
    from_ms, to_ms = span.milliseconds
    return {"from_ms": from_ms, "to_ms": to_ms}

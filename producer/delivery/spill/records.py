"""What goes to Kafka and may be on disk meanwhile: events, and gap records in between.

A gap record travels as the events do and is none: whoever counts events counts them here.
"""

from collections.abc import Iterable

from usagepipe.schemas.gap import is_gap

Record = tuple[bytes, bytes]  # key and value, as Kafka takes them


def is_event(record: Record) -> bool:
    """Whether it is an event, and no gap record."""
    return not is_gap(record[1])


def events_in(records: Iterable[Record]) -> int:
    """How many of them are events."""
    return sum(map(is_event, records))


def number_of(record: Record) -> int:
    """The event's number, or the last one that a gap record tells of, out of the bytes; 0 where
    there is none."""
    digits = record[1].partition(b'sequence":')[2].partition(b",")[0]
    return int(digits) if digits.isdigit() else 0

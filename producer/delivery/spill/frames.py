"""Records as frames of a spill file, and back, even from a file that a crash has damaged.

A record is an event or a gap record. A gap record travels like an event but does not count as one.

A frame begins with a mark that no UTF-8 text contains, so the next whole frame after a damaged
section can be found. Frames are numbered within their file, so lost ones are counted exactly. Only
at a torn end the number is unknown: it counts as one.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple
from zlib import crc32

from usagepipe.schemas.gap import is_gap

Record = tuple[bytes, bytes]  # key and value for Kafka

MARK: Final = b"\xf8\xffUP"
_FRONT: Final = struct.Struct("<4sI")  # the mark; CRC-32 of all that follows
_LENGTHS: Final = struct.Struct("<IHI")  # number in the file; bytes of the key and of the value
FRAME_BYTES: Final = _FRONT.size + _LENGTHS.size  # around key and value


class Found(NamedTuple):
    """The readable records of a file, in order, and the number of its lost records."""

    records: list[Record]
    lost: int


def is_event(record: Record) -> bool:
    """Whether it is an event, not a gap record."""
    return not is_gap(record[1])


def events_in(records: Iterable[Record]) -> int:
    """How many of them are events."""
    return sum(map(is_event, records))


def number_of(record: Record) -> int:
    """The event's number, or the last number of a gap record, read from the bytes. 0: there is
    none."""
    digits = record[1].partition(b'sequence":')[2].partition(b",")[0]
    return int(digits) if digits.isdigit() else 0


def write_frames(records: Iterable[Record], first: int) -> bytes:
    """The records as frames, numbered from `first`."""
    parts: list[bytes] = []
    for number, (key, value) in enumerate(records, first):
        body = _LENGTHS.pack(number, len(key), len(value)) + key + value
        parts += (_FRONT.pack(MARK, crc32(body)), body)
    return b"".join(parts)


def read_frames(data: bytes) -> Found:
    """Every whole frame in `data`, verified by its checksum. Never raises."""
    records: list[Record] = []
    lost = place = expected = 0
    while 0 <= place < len(data):
        if (frame := _frame_at(data, place)) is None:
            place = data.find(MARK, place + 1)
            continue
        number, record, place = frame
        lost += max(0, number - expected)  # smaller: a failed write was repeated
        expected = max(expected, number + 1)
        records.append(record)
    return Found(records, lost + (place < 0))


def _frame_at(data: bytes, place: int) -> tuple[int, Record, int] | None:
    """Number, record and end of the frame at `place`. None: there is no whole frame."""
    start = place + _FRONT.size
    if len(data) - place < FRAME_BYTES:
        return None
    mark, checksum = _FRONT.unpack_from(data, place)
    number, key_bytes, value_bytes = _LENGTHS.unpack_from(data, start)
    key_at = place + FRAME_BYTES
    value_at = key_at + key_bytes
    end = value_at + value_bytes
    if mark != MARK or end > len(data) or crc32(memoryview(data)[start:end]) != checksum:
        return None
    return number, (data[key_at:value_at], data[value_at:end]), end

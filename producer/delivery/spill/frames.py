"""One event as bytes of a spill file, and the way back, whatever a crash has left of the file.

A frame begins with a mark that no UTF-8 text contains: behind a damaged stretch the next whole
frame is found again. Frames are numbered within their file, so what is lost is counted exactly;
only of a torn end nobody can tell how much it was: it counts as one.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple
from zlib import crc32

from usagepipe.producer.delivery.spill.records import Record

MARK: Final = b"\xf8\xffUP"
_FRONT: Final = struct.Struct("<4sI")  # the mark; CRC-32 of all that follows
_LENGTHS: Final = struct.Struct("<IHI")  # number in the file; bytes of the key and of the value
FRAME_BYTES: Final = _FRONT.size + _LENGTHS.size  # around key and value


class Found(NamedTuple):
    """What a file still holds, in order, and how many of its records it does not."""

    records: list[Record]
    lost: int


def write_frames(records: Iterable[Record], first: int) -> bytes:
    """The records as frames, numbered from `first`."""
    parts: list[bytes] = []
    for number, (key, value) in enumerate(records, first):
        body = _LENGTHS.pack(number, len(key), len(value)) + key + value
        parts += (_FRONT.pack(MARK, crc32(body)), body)
    return b"".join(parts)


def read_frames(data: bytes) -> Found:
    """Every whole frame in `data`. Never raises and never invents: each has its checksum."""
    records: list[Record] = []
    lost = place = expected = 0
    while 0 <= place < len(data):
        if (frame := _frame_at(data, place)) is None:
            place = data.find(MARK, place + 1)
            continue
        number, record, place = frame
        lost += max(0, number - expected)  # less: a failed write that was made again
        expected = max(expected, number + 1)
        records.append(record)
    return Found(records, lost + (place < 0))


def _frame_at(data: bytes, place: int) -> tuple[int, Record, int] | None:
    """The number and record of the frame at `place`, and where it ends; None for no whole one."""
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

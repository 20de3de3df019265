"""Reads the records of a record batch, without their headers.

A record can have millions of headers, and aiokafka makes an object of each. aiokafka reads a batch
of normal size. A large batch, or one of large records, is read here, where headers are skipped.
That costs another microsecond per record.
"""

import struct
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import decode_varint

from usagepipe.consumer.log.records import Record
from usagepipe.consumer.log.unpacking import unpack
from usagepipe.consumer.log.unreadable import (
    BATCH_UNDECODABLE,
    RECORD_TOO_LARGE,
    UnreadableRecord,
    UnreadableRecords,
)
from usagepipe.schemas.topics import MAX_RECORD_BYTES

# https://kafka.apache.org/documentation/#recordbatch
HEADER_BYTES: Final = 61
COUNT: Final = struct.Struct(">57xi")
LEADER_EPOCH: Final = struct.Struct(">12xi")
_TIMES: Final = struct.Struct(">21xh4xqq")  # attributes, timestamps of the first and latest record
_LOG_APPEND_TIME_BIT: Final = 8
_CODEC_AT: Final = 22  # the lower byte of the attributes
# If all of this were headers, it would become some 40 MiB of objects. librdkafka's batches have
# less than 1 MB.
_MOST_BYTES: Final = 1 << 20
_MOST_BYTES_EACH: Final = 4_096
_TOO_LARGE: Final = f"it has more than {MAX_RECORD_BYTES >> 20} MiB"
_LOG_APPEND_TIME: Final = 1  # `timestamp_type`
_headers: Final = attrgetter("headers")
# What a decoder raises for malformed records: brokers check little of the inside of a batch.
UNSOUND: Final = (CorruptRecordException, IndexError, OverflowError, ValueError, struct.error)


class Times(NamedTuple):
    """When the first and the latest record of a batch arrived, in milliseconds."""

    first: int
    last: int


def times_of(raw: memoryview) -> Times:
    """The times in the header. If the broker sets the time, all records have the same."""
    attributes, first, last = _TIMES.unpack_from(raw)
    return Times(last if attributes & _LOG_APPEND_TIME_BIT else first, last)


class PlainRecord(NamedTuple):
    """A record without its headers."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def read_records(raw: memoryview, size: int) -> Sequence[Record]:
    """The records of a record batch that has `size` unpacked bytes after its header.

    A record that is too large for an event is an `UnreadableRecord`.
    """
    plain = _unpacked(raw, size)
    batch = DefaultRecordBatch(plain)
    try:
        return _read(batch, plain, size)
    except UNSOUND as error:
        offsets = range(batch.base_offset, batch.next_offset)
        detail = f"its record batch: {type(error).__name__}"
        return UnreadableRecords(offsets, batch.max_timestamp, BATCH_UNDECODABLE, detail)


def _read(batch: DefaultRecordBatch, plain: memoryview, size: int) -> Sequence[Record]:
    (count,) = COUNT.unpack_from(plain)
    if size > min(_MOST_BYTES, count * _MOST_BYTES_EACH):
        return _read_plain(batch, plain, count)
    try:
        # A Python loop lets other threads run in between. `list` would not.
        records = [record for record in batch]
    except UnicodeDecodeError:  # the name of a header; for brokers names are bytes
        return _read_plain(batch, plain, count)
    if any(map(_headers, records)):
        return [PlainRecord(r.offset, r.timestamp, r.key, r.value) for r in records]
    return records


def _unpacked(raw: memoryview, size: int) -> memoryview:
    """The same record batch, uncompressed."""
    codec = raw[_CODEC_AT] & DefaultRecordBatch.CODEC_MASK
    if codec == DefaultRecordBatch.CODEC_NONE:
        return raw
    # aiokafka's own decoders would take several times the memory.
    plain = memoryview(bytearray(HEADER_BYTES + size))
    plain[:HEADER_BYTES] = raw[:HEADER_BYTES]
    plain[_CODEC_AT] ^= codec
    unpack(codec, raw[HEADER_BYTES:], plain[HEADER_BYTES:])
    return plain


def _read_plain(batch: DefaultRecordBatch, plain: memoryview, count: int) -> list[Record]:
    """https://kafka.apache.org/documentation/#record"""
    arrived = batch.max_timestamp if batch.timestamp_type == _LOG_APPEND_TIME else None
    position = HEADER_BYTES
    records: list[Record] = []
    for _ in range(count):
        length, position = decode_varint(plain, position)
        end = position + length
        later, position = decode_varint(plain, position + 1)  # after the attributes
        delta, position = decode_varint(plain, position)
        offset = batch.base_offset + delta
        timestamp = batch.first_timestamp + later if arrived is None else arrived
        key, position = _bytes(plain, position)
        value, _ = _bytes(plain, position)
        records.append(_record(offset, timestamp, key, value))
        position = end
    return records


def _record(
    offset: int, timestamp: int, key: memoryview | None, value: memoryview | None
) -> Record:
    size = len(value or b"")
    if size + len(key or b"") > MAX_RECORD_BYTES:
        return UnreadableRecord(offset, timestamp, RECORD_TOO_LARGE, _TOO_LARGE, size)
    return PlainRecord(offset, timestamp, _copy(key), _copy(value))


def _bytes(plain: memoryview, position: int) -> tuple[memoryview | None, int]:
    length, position = decode_varint(plain, position)
    if length < 0:
        return None, position
    return plain[position : position + length], position + length


def _copy(data: memoryview | None) -> bytes | None:
    return None if data is None else bytes(data)

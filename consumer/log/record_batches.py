"""Record batches of the log. They stay compressed until their rows are made.

Compressed events take a sixth to a tenth of the memory, and Python objects take half as much again.
A worker that waits for ClickHouse holds hundreds of thousands of events.

A record batch that exceeds the bounds of `unpacking` is never unpacked: its records are unreadable.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH
from usagepipe.consumer.log.offset_ranges import OffsetRange, without
from usagepipe.consumer.log.record_reader import (
    COUNT,
    HEADER_BYTES,
    LEADER_EPOCH,
    Times,
    read_records,
    times_of,
)
from usagepipe.consumer.log.records import Record, TopicPartition
from usagepipe.consumer.log.transactions import Aborted
from usagepipe.consumer.log.unpacking import MAX_RATIO, MAX_UNPACKED_BYTES, measure
from usagepipe.consumer.log.unreadable import BATCH_TOO_LARGE, BATCH_UNDECODABLE, UnreadableRecords
from usagepipe.schemas.errors import TooLargeError, UndecodableError

_LENGTH: Final = struct.Struct(">8xi")  # of the rest of the batch; the first offset is before it
_MAGIC_AT: Final = 16
_MAGIC: Final = 2
_OBJECT_BYTES: Final = 300  # about what a record costs in addition to its value and key
_TOO_LARGE: Final = (
    f"its record batch holds more than {MAX_UNPACKED_BYTES >> 20} MiB"
    f" or {MAX_RATIO:,} times its size"
)


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """Records as objects. Part of a record batch has its share of the whole's `unpacked_bytes`."""

    _records: Sequence[Record]  # at least one
    unpacked_bytes: int
    leader_epoch: int = UNKNOWN_EPOCH  # of its last record

    @classmethod
    def of(cls, records: Sequence[Record], leader_epoch: int = UNKNOWN_EPOCH) -> Self:
        """These records. Their values and keys are its `unpacked_bytes`."""
        unpacked = sum([len(each.value or b"") + len(each.key or b"") for each in records])
        return cls(records, unpacked, leader_epoch)

    @property
    def first(self) -> int:
        return self._records[0].offset

    @property
    def last(self) -> int:
        return self._records[-1].offset

    @property
    def times(self) -> Times:
        return Times(self._records[0].timestamp, self._records[-1].timestamp)

    @property
    def held_bytes(self) -> int:
        """The memory that it takes while it waits."""
        return self.unpacked_bytes + len(self._records) * _OBJECT_BYTES

    @property
    def count(self) -> int:
        return len(self._records)

    def records(self) -> Sequence[Record]:
        return self._records


@dataclass(frozen=True, slots=True)
class CompressedBatch:
    """A record batch of message format 2 (Kafka 0.11 and later), with the bytes of the log."""

    _data: memoryview
    first: int
    last: int
    count: int
    unpacked_bytes: int

    @property
    def held_bytes(self) -> int:
        # The whole fetched answer stays in memory until all its record batches are gone.
        return len(self._data)

    @property
    def leader_epoch(self) -> int:
        return _leader_epoch(self._data)

    @property
    def times(self) -> Times:
        return times_of(self._data)

    def records(self) -> Sequence[Record]:
        """Its records. Each call unpacks them again."""
        return read_records(self._data, self.unpacked_bytes)


# Consecutive records of one partition: a record batch of Kafka's, or a part of one.
RecordBatch = CompressedBatch | DecodedBatch


def split(whole: RecordBatch, count: int) -> tuple[DecodedBatch, DecodedBatch]:
    """The first `count` records, and the others."""
    return _halves(whole, whole.records(), count)


def split_after(whole: RecordBatch, offset: int) -> tuple[DecodedBatch, DecodedBatch]:
    """The records up to `offset`, and the others."""
    records = whole.records()
    count = bisect_right(records, offset, key=lambda record: record.offset)
    return _halves(whole, records, count)


def _halves(
    whole: RecordBatch, records: Sequence[Record], count: int
) -> tuple[DecodedBatch, DecodedBatch]:
    head, epoch = whole.unpacked_bytes * count // len(records), whole.leader_epoch
    return (
        DecodedBatch(records[:count], head, epoch),
        DecodedBatch(records[count:], whole.unpacked_bytes - head, epoch),
    )


@dataclass(frozen=True, slots=True)
class Step:
    """The next record batch of a fetched answer.

    `record_batch` is None for the marker of a transaction and for aborted records. `missing` are
    offsets that should have a record: the log has lost it. `aborted` are the offsets of aborted
    records.
    """

    record_batch: RecordBatch | None
    next_offset: int
    missing: Sequence[OffsetRange] = ()
    aborted: OffsetRange | None = None


def are_format_2(data: memoryview) -> bool:
    """Whether all of `data` is of message format 2."""
    # Data shorter than the header of format 2 is of an older format.
    return len(data) >= HEADER_BYTES and all(
        batch[_MAGIC_AT] == _MAGIC for batch in _raw_batches(data)
    )


def record_batches_of(
    partition: TopicPartition,
    data: memoryview,
    offset: int,
    aborted: Iterable[tuple[int, int]] = (),
) -> Iterator[Step]:
    """The record batches in `data`, which a fetch from `offset` returned, without aborted records.

    `aborted` are the transactions that the broker lists (`Aborted`).

    Raises:
        CorruptRecordException: a checksum is wrong.
    """
    transactions = Aborted(aborted)
    for raw in _raw_batches(data):
        batch = DefaultRecordBatch(raw)
        if not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {partition}")
        aborted_span = None
        if transactions.has(batch):
            aborted_span = OffsetRange(max(offset, batch.base_offset), batch.next_offset - 1)
        hidden = aborted_span is not None or batch.is_control_batch
        readable = None if hidden else _record_batch(batch, raw, offset)
        missing = _missing(offset, batch, readable, hidden)
        yield Step(readable, batch.next_offset, missing, aborted_span)
        offset = max(offset, batch.next_offset)


def _missing(
    offset: int, batch: DefaultRecordBatch, readable: RecordBatch | None, hidden: bool
) -> Sequence[OffsetRange]:
    """The offsets from `offset` to the end of `batch` that should have a record and have none."""
    base = batch.base_offset
    gap = [OffsetRange(offset, base - 1)] if offset < base else []
    inside = OffsetRange(max(offset, base), batch.next_offset - 1)
    if hidden or inside.size <= 0 or (readable is not None and readable.count == inside.size):
        return gap
    records = () if readable is None else readable.records()
    return [*gap, *without([inside], (record.offset for record in records))]


def _raw_batches(data: memoryview) -> Iterator[memoryview]:
    """The complete record batches of `data`: the broker may cut the last one."""
    while len(data) >= HEADER_BYTES:
        (length,) = _LENGTH.unpack_from(data)
        end = _LENGTH.size + length
        if len(data) < end:
            return
        yield data[:end]
        data = data[end:]


def _record_batch(batch: DefaultRecordBatch, raw: memoryview, offset: int) -> RecordBatch | None:
    (count,) = COUNT.unpack_from(raw)
    try:
        unpacked = measure(batch.compression_type, raw[HEADER_BYTES:])
        # Many small records are too large as well once they are objects.
        if unpacked + count * _OBJECT_BYTES > MAX_UNPACKED_BYTES:
            raise TooLargeError
    except TooLargeError:
        return _unread(batch, raw, offset, BATCH_TOO_LARGE, _TOO_LARGE)
    except UndecodableError as error:
        return _unread(batch, raw, offset, BATCH_UNDECODABLE, f"its record batch: {error}")
    if batch.base_offset >= offset and count == batch.last_offset_delta + 1:
        return CompressedBatch(raw, batch.base_offset, batch.next_offset - 1, count, unpacked)
    # The offset is in the middle of it, or compaction has removed records.
    records = [record for record in read_records(raw, unpacked) if record.offset >= offset]
    return DecodedBatch.of(records, _leader_epoch(raw)) if records else None


def _leader_epoch(raw: memoryview) -> int:
    (epoch,) = LEADER_EPOCH.unpack_from(raw)
    return int(epoch)


def _unread(
    batch: DefaultRecordBatch, raw: memoryview, offset: int, reason: str, detail: str
) -> RecordBatch | None:
    """An unreadable record for each offset that the header claims. Nothing else is known."""
    offsets = range(max(batch.base_offset, offset), batch.next_offset)
    records = UnreadableRecords(offsets, batch.max_timestamp, reason, detail)
    return DecodedBatch(records, 0, _leader_epoch(raw)) if records else None

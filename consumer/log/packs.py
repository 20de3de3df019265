"""Records as they lie in the log: a record batch of Kafka's stays packed until its rows are made.

Compressed, events take a sixth to a tenth of the room, and as Python objects they take half as much
again. A worker that waits for ClickHouse holds hundreds of thousands of them.

A batch that holds more than it may is never unpacked: its records are ones that nobody reads.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from usagepipe.consumer.log.offset_ranges import OffsetRange, without
from usagepipe.consumer.log.record_batch import (
    COUNT,
    HEADER_BYTES,
    LEADER_EPOCH,
    Times,
    read_records,
    times_of,
)
from usagepipe.consumer.log.records import Record, TopicPartition
from usagepipe.consumer.log.transactions import Aborted
from usagepipe.consumer.log.unpacking import (
    MAX_RATIO,
    MAX_UNPACKED_BYTES,
    TooLargeError,
    UndecodableError,
    measure,
)
from usagepipe.consumer.log.unread import BATCH_TOO_LARGE, BATCH_UNDECODABLE, UnreadRecords
from usagepipe.consumer.topics.leader_epochs import UNKNOWN

_LENGTH: Final = struct.Struct(">8xi")  # of what follows, behind the first offset
_MAGIC_AT: Final = 16
_MAGIC: Final = 2
_OBJECT_BYTES: Final = 300  # about what a record costs beside its value and key
_TOO_LARGE: Final = (
    f"its record batch holds more than {MAX_UNPACKED_BYTES >> 20} MiB"
    f" or {MAX_RATIO:,} times its size"
)


class Pack(Protocol):
    """Consecutive records of one partition, at least one."""

    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def size(self) -> int: ...  # bytes when unpacked
    @property
    def weight(self) -> int: ...  # bytes as it is
    @property
    def leader_epoch(self) -> int: ...  # of its last record
    @property
    def times(self) -> Times: ...
    def records(self) -> Sequence[Record]: ...


@dataclass(frozen=True, slots=True)
class Loose:
    """Records that lie open. Part of a pack has its share of the pack's `size`."""

    _records: Sequence[Record]
    size: int
    leader_epoch: int = UNKNOWN

    @classmethod
    def of(cls, records: Sequence[Record], leader_epoch: int = UNKNOWN) -> Self:
        """These records. Their size is that of their values and keys."""
        size = sum([len(each.value or b"") + len(each.key or b"") for each in records])
        return cls(records, size, leader_epoch)

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
    def weight(self) -> int:
        return self.size + len(self._records) * _OBJECT_BYTES

    @property
    def count(self) -> int:
        return len(self._records)

    def records(self) -> Sequence[Record]:
        return self._records


@dataclass(frozen=True, slots=True)
class Packed:
    """A record batch (message format 2, as Kafka has had it since 0.11), as it came."""

    _data: memoryview
    first: int
    last: int
    count: int
    size: int

    @property
    def weight(self) -> int:
        # The fetched bytes stay until all packs of the fetch are gone.
        return len(self._data)

    @property
    def leader_epoch(self) -> int:
        return _leader_epoch(self._data)

    @property
    def times(self) -> Times:
        return times_of(self._data)

    def records(self) -> Sequence[Record]:
        """Its records, unpacked anew each time."""
        return read_records(self._data, self.size)


@dataclass(frozen=True, slots=True)
class Run:
    """Everything one fetch brought of one partition, and the assignment it was fetched under.

    Faust carries a run as one message, since its cost is a message's (68 µs each), not a byte's.

    `stamp` is the number of the assignment that had sought the partition when the records were
    taken out of the fetcher: a run of an older one may lie before or after the current position,
    and is thrown away. `index` numbers the runs of a partition within an assignment: a number that
    is missing is a run that got lost inside the process, and is read again.
    """

    partition: TopicPartition
    packs: Sequence[Pack]  # at least one
    stamp: int
    index: int
    behind: int = 0  # offsets of the log that come after it, as far as is known

    @property
    def first(self) -> int:
        """The offset of its first record."""
        return self.packs[0].first


def split(pack: Pack, count: int) -> tuple[Loose, Loose]:
    """The first `count` records, and the others."""
    return _halves(pack, pack.records(), count)


def split_behind(pack: Pack, offset: int) -> tuple[Loose, Loose]:
    """The records up to `offset`, and the others."""
    records = pack.records()
    count = bisect_right(records, offset, key=lambda record: record.offset)
    return _halves(pack, records, count)


def _halves(pack: Pack, records: Sequence[Record], count: int) -> tuple[Loose, Loose]:
    head, epoch = pack.size * count // len(records), pack.leader_epoch
    return Loose(records[:count], head, epoch), Loose(records[count:], pack.size - head, epoch)


@dataclass(frozen=True, slots=True)
class Step:
    """What the fetcher finds next.

    `pack` is None where nothing is of interest: a transaction's marker, or aborted records.
    `missing` are offsets without a record that no marker explains: the log has lost it. `aborted`
    are those of records that a transaction took back.
    """

    pack: Pack | None
    next_offset: int
    missing: Sequence[OffsetRange] = ()
    aborted: OffsetRange | None = None


def are_packed(data: memoryview) -> bool:
    """Whether all of `data` is of message format 2."""
    # One that is shorter than a record batch's header is older, too.
    return len(data) >= HEADER_BYTES and all(
        batch[_MAGIC_AT] == _MAGIC for batch in _record_batches(data)
    )


def packs_of(
    partition: TopicPartition,
    data: memoryview,
    offset: int,
    aborted: Iterable[tuple[int, int]] = (),
) -> Iterator[Step]:
    """The packs of what a fetch from `offset` on brought, without aborted records.

    `aborted` are the transactions that the broker names (`Aborted`).

    Raises:
        CorruptRecordException: a checksum is wrong.
    """
    transactions = Aborted(aborted)
    for raw in _record_batches(data):
        batch = DefaultRecordBatch(raw)
        if not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {partition}")
        aborted_span = None
        if transactions.has(batch):
            aborted_span = OffsetRange(max(offset, batch.base_offset), batch.next_offset - 1)
        hidden = aborted_span is not None or batch.is_control_batch
        pack = None if hidden else _pack(batch, raw, offset)
        missing = _missing(offset, batch, pack, hidden)
        yield Step(pack, batch.next_offset, missing, aborted_span)
        offset = max(offset, batch.next_offset)


def _missing(
    offset: int, batch: DefaultRecordBatch, pack: Pack | None, hidden: bool
) -> Sequence[OffsetRange]:
    """The offsets from `offset` to the end of `batch` that have no record, and should."""
    base = batch.base_offset
    gap = [OffsetRange(offset, base - 1)] if offset < base else []
    inside = OffsetRange(max(offset, base), batch.next_offset - 1)
    if hidden or inside.size <= 0 or (pack is not None and pack.count == inside.size):
        return gap
    records = () if pack is None else pack.records()
    return [*gap, *without([inside], (record.offset for record in records))]


def _record_batches(data: memoryview) -> Iterator[memoryview]:
    """The whole ones: the broker may cut the last."""
    while len(data) >= HEADER_BYTES:
        (length,) = _LENGTH.unpack_from(data)
        end = _LENGTH.size + length
        if len(data) < end:
            return
        yield data[:end]
        data = data[end:]


def _pack(batch: DefaultRecordBatch, raw: memoryview, offset: int) -> Pack | None:
    (count,) = COUNT.unpack_from(raw)
    try:
        size = measure(batch.compression_type, raw[HEADER_BYTES:])
    except TooLargeError:
        return _unread(batch, raw, offset, BATCH_TOO_LARGE, _TOO_LARGE)
    except UndecodableError as error:
        return _unread(batch, raw, offset, BATCH_UNDECODABLE, f"its record batch: {error}")
    # Many small records are as large, once they are objects.
    if size + count * _OBJECT_BYTES > MAX_UNPACKED_BYTES:
        return _unread(batch, raw, offset, BATCH_TOO_LARGE, _TOO_LARGE)
    if batch.base_offset >= offset and count == batch.last_offset_delta + 1:
        return Packed(raw, batch.base_offset, batch.next_offset - 1, count, size)
    # A seek into the middle of it, or a batch that compaction or a log cleaner has been in.
    records = [record for record in read_records(raw, size) if record.offset >= offset]
    return Loose.of(records, _leader_epoch(raw)) if records else None


def _leader_epoch(raw: memoryview) -> int:
    (epoch,) = LEADER_EPOCH.unpack_from(raw)
    return int(epoch)


def _unread(
    batch: DefaultRecordBatch, raw: memoryview, offset: int, reason: str, detail: str
) -> Pack | None:
    """A letter's worth for each offset that the header claims: nothing else is known."""
    offsets = range(max(batch.base_offset, offset), batch.next_offset)
    records = UnreadRecords(offsets, batch.max_timestamp, reason, detail)
    return Loose(records, 0, _leader_epoch(raw)) if records else None

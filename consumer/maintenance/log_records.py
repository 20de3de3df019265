"""Reads records of the log in batches with fixed borders, for audit, repair and replay."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Self, cast

from confluent_kafka import Message

from usagepipe.consumer.log.offset_ranges import OffsetRange, members, near
from usagepipe.consumer.topics.log_reader import LogReader

BATCH_RECORDS: Final = 20_000
BATCH_BYTES: Final = 32 << 20
NEAR_OFFSETS: Final = 5_000  # ranges closer than this are read at once: a seek costs more


class LogRecord(NamedTuple):
    """A record as `LogReader` returns it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @classmethod
    def of(cls, message: Message) -> Self:
        # The client's types allow text and a missing offset; neither occurs.
        key, value = cast(tuple[bytes | None, ...], (message.key(), message.value()))
        return cls(cast(int, message.offset()), message.timestamp()[1], key, value)


def read_batches(log: LogReader, partition: int, span: OffsetRange) -> Iterator[list[LogRecord]]:
    """The records of `span`, in batches that end at the same offsets wherever `span` begins.

    Two runs cut the same batches, so their inserts have the same tokens.
    """
    batch: list[LogRecord] = []
    size = 0
    for message in log.read(partition, span.first, span.last + 1):
        record = LogRecord.of(message)
        whole = batch and record.offset // BATCH_RECORDS != batch[0].offset // BATCH_RECORDS
        if whole or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.value or b"")
    if batch:
        yield batch


def read_records(
    log: LogReader, partition: int, ranges: Iterable[OffsetRange]
) -> Iterator[list[LogRecord]]:
    """The records of `ranges`, which are in order; in the batches of `read_batches`."""
    for group in near(ranges, NEAR_OFFSETS):
        for batch in read_batches(log, partition, OffsetRange(group[0].first, group[-1].last)):
            records = {record.offset: record for record in batch}
            if chosen := [records[offset] for offset in members(group, records)]:
                yield chosen

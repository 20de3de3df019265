"""What the tests of `consumer/log` read: record batches, their offsets and their fields."""

from collections.abc import Iterable

from aiokafka.record.default_records import DefaultRecordBatch

from tests.support.fake_records import PARTITION
from usagepipe.consumer.log.record_batches import (
    RecordBatch,
    record_batches_of,
)
from usagepipe.consumer.log.records import Record

CODECS = [
    0,
    DefaultRecordBatch.CODEC_GZIP,
    DefaultRecordBatch.CODEC_SNAPPY,
    DefaultRecordBatch.CODEC_LZ4,
    DefaultRecordBatch.CODEC_ZSTD,
]


def batches(data: bytes, offset: int = 0) -> list[RecordBatch]:
    steps = record_batches_of(PARTITION, memoryview(data), offset)
    return [step.record_batch for step in steps if step.record_batch is not None]


def offsets(batch: RecordBatch) -> list[int]:
    return [record.offset for record in batch.records()]


def fields(records: Iterable[Record]) -> list[tuple[int, int, bytes | None, bytes | None]]:
    return [(each.offset, each.timestamp, each.key, each.value) for each in records]

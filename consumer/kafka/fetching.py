"""Takes whole record batches out of aiokafka's fetcher, where stock gives record after record.

aiokafka makes an object of each record as soon as it is asked for it, which costs the worker a
fifth of its time and most of its memory (`log/record_batches.py`).
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Final

from aiokafka.consumer import fetcher as stock
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords

from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.log.record_batches import (
    DecodedBatch,
    RecordBatch,
    are_format_2,
    record_batches_of,
)
from usagepipe.consumer.log.records import TopicPartition


class KeptRecords(MemoryRecords):  # type: ignore[misc]  # aiokafka is untyped
    """`MemoryRecords` whose bytes can be read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data: Final = data


def keep_fetched_bytes() -> None:
    """Have aiokafka's fetchers, from now on, keep the bytes of what they fetch."""
    stock.MemoryRecords = KeptRecords


Missing = dict[TopicPartition, list[OffsetRange]]


def take_record_batches(fetcher: Fetcher, missing: Missing) -> None:
    """Make `fetcher` hand out whole record batches. Older message formats stay as they are.

    As they are taken, offsets that the log has lost are added to `missing`.
    """
    for result in fetcher._records.values():
        if type(result) is not FetchResult or result._partition_records is None:
            continue
        found = result._partition_records
        kept = found._records
        if type(kept) is KeptRecords and type(found._records_iterator) is not _RecordBatches:
            data = memoryview(kept.data)
            if are_format_2(data):
                found._records_iterator = _RecordBatches(found, data, missing)


class _RecordBatches(Iterator[RecordBatch]):
    """In the place of the generator that `PartitionRecords` goes through."""

    def __init__(self, found: PartitionRecords, data: memoryview, missing: Missing) -> None:
        self._found = found
        self._partition = TopicPartition(found._tp.topic, found._tp.partition)
        self._missing = missing
        aborted = found._aborted_transactions
        self._record_batches = record_batches_of(
            self._partition, data, found.next_fetch_offset, aborted
        )

    def __next__(self) -> RecordBatch:
        for each in self._record_batches:
            self._found.next_fetch_offset = each.next_offset
            if each.missing:
                self._missing.setdefault(self._partition, []).extend(each.missing)
            if each.record_batch is not None:
                return each.record_batch
        raise StopIteration


def as_record_batches(records: list[Any]) -> list[RecordBatch]:
    """Whole record batches as they are; single records become one batch."""
    # All came out of one iterator, so they are all of one kind.
    return records if isinstance(records[0], RecordBatch) else [DecodedBatch.of(records)]


async def wait_for_more(fetcher: Fetcher, deadline: float) -> bool:
    """Wait until something was fetched. False: nothing came in time."""
    waiter = fetcher._create_fetch_waiter()
    try:
        await asyncio.wait([waiter], timeout=max(0.0, deadline - time.monotonic()))
        if waiter.done():
            waiter.result()  # raises what the group's coordinator refused for good
        return bool(waiter.done())
    finally:
        waiter.cancel()

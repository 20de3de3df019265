"""Takes whole record batches out of aiokafka's fetcher, where stock gives record after record.

aiokafka makes an object of each record as soon as it is asked for it, which costs the worker a
fifth of its time and most of its memory (`packs`).
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Final

from aiokafka.consumer import fetcher as stock
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords

from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.log.packs import Loose, Pack, Packed, are_packed, packs_of
from usagepipe.consumer.log.records import TopicPartition


class KeptRecords:
    """aiokafka's `MemoryRecords`, which keep the bytes they were made of to themselves."""

    def __init__(self, data: bytes) -> None:
        self.data: Final = data
        self._records = MemoryRecords(data)

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        return self._records.next_batch()


def keep_fetched_bytes() -> None:
    """Have aiokafka's fetchers, from now on, keep the bytes of what they fetch."""
    stock.MemoryRecords = KeptRecords


Missing = dict[TopicPartition, list[OffsetRange]]


def pack_fetched(fetcher: Fetcher, missing: Missing) -> None:
    """Turn what lies in `fetcher` into whole packs. What cannot be stays as it is.

    As they are taken, offsets that the log has lost are added to `missing`.
    """
    for result in fetcher._records.values():
        if type(result) is not FetchResult or result._partition_records is None:
            continue
        found = result._partition_records
        kept = found._records
        if type(kept) is KeptRecords and type(found._records_iterator) is not _Packs:
            data = memoryview(kept.data)
            if are_packed(data):
                found._records_iterator = _Packs(found, data, missing)


class _Packs(Iterator[Pack]):
    """In the place of the generator that `PartitionRecords` goes through."""

    def __init__(self, found: PartitionRecords, data: memoryview, missing: Missing) -> None:
        self._found = found
        self._partition = TopicPartition(found._tp.topic, found._tp.partition)
        self._missing = missing
        aborted = found._aborted_transactions
        self._packs = packs_of(self._partition, data, found.next_fetch_offset, aborted)

    def __next__(self) -> Pack:
        for each in self._packs:
            self._found.next_fetch_offset = each.next_offset
            if each.missing:
                self._missing.setdefault(self._partition, []).extend(each.missing)
            if each.pack is not None:
                return each.pack
        raise StopIteration


def as_packs(records: list[Any]) -> list[Pack]:
    """Packs as they are, and records that could not be packed as one."""
    # All came out of one iterator, so they are all of one kind.
    return records if isinstance(records[0], Packed | Loose) else [Loose.of(records)]


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

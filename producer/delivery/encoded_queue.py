"""Encoded records on their way from the inbox to librdkafka or to the disk, in order."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from usagepipe.producer.delivery.spill import Record


class EncodedQueue:
    """Records that are neither in librdkafka nor on disk. For one thread."""

    def __init__(self) -> None:
        self.bytes = 0
        self._records: deque[Record] = deque()
        self._since = 0.0  # when the first one came

    def __len__(self) -> int:
        return len(self._records)

    @property
    def age(self) -> float:
        """For how many seconds the first record has waited, at most."""
        return time.monotonic() - self._since

    def append(self, record: Record) -> None:
        if not self._records:
            self._since = time.monotonic()
        self._records.append(record)
        self.bytes += len(record[0]) + len(record[1])

    def put_first(self, records: Sequence[Record]) -> None:
        """Put `records`, which are older, before all others."""
        self._records.extendleft(reversed(records))
        self.bytes += sum(len(key) + len(value) for key, value in records)
        self._since = 0.0  # long ago

    def first(self, most: int) -> list[Record]:
        """The first `most` records. They stay."""
        return list(islice(self._records, most))

    def hand_over(self, take: Callable[[Record], bool]) -> None:
        """Give records to `take`, in order, until it returns False."""
        records = self._records
        while records and take(records[0]):
            key, value = records.popleft()
            self.bytes -= len(key) + len(value)

    def drop_first(self, count: int) -> None:
        for _ in range(count):
            key, value = self._records.popleft()
            self.bytes -= len(key) + len(value)

"""Finds the record batches of aborted transactions, whose records do not count.

A broker that is asked for committed records returns decided records only. It lists the aborted
transactions among them by producer and first offset. Each ends at a control record of its producer.
"""

from collections.abc import Iterable
from typing import Final

from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch

READ_COMMITTED: Final = 1  # isolation levels of requests
READ_UNCOMMITTED: Final = 0


class Aborted:
    """The aborted transactions of one fetch. Ask for its record batches in their order."""

    def __init__(self, transactions: Iterable[tuple[int, int]]) -> None:
        """`transactions` are pairs of producer id and first offset, as the broker lists them."""
        self._waiting = sorted(transactions, key=lambda each: each[1], reverse=True)
        self._producers: set[int] = set()

    def has(self, batch: DefaultRecordBatch) -> bool:
        """Whether the records of `batch` were aborted."""
        while self._waiting and self._waiting[-1][1] <= batch.base_offset:
            self._producers.add(self._waiting.pop()[0])
        if batch.producer_id not in self._producers or not batch.is_transactional:
            return False
        if batch.is_control_batch:
            if _is_abort(batch):
                self._producers.discard(batch.producer_id)
            return False
        return True


def _is_abort(batch: DefaultRecordBatch) -> bool:
    return any(ControlRecord.parse(record.key or b"") == ABORT_MARKER for record in batch)

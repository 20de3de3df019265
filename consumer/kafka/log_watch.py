"""Notices when a log is no longer the one that was read, or has lost records of its middle."""

from collections.abc import Callable
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError

from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH, Lineage
from usagepipe.consumer.log.offset_ranges import OffsetRange, joined, size
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.topics.leader_epochs import epoch_ends

log = structlog.get_logger()

MOST_RANGES: Final = 20  # in a line of the log


class LogWatch:
    """Of the partitions of one consumer."""

    def __init__(self) -> None:
        self.missing: dict[TopicPartition, list[OffsetRange]] = {}  # not logged yet
        self.read: dict[TopicPartition, Lineage] = {}

    async def continues(self, consumer: Any, chunk: Chunk, is_current: Callable[[], bool]) -> bool:
        """Whether `chunk` is of the log that was read before it; `consumer` is aiokafka's.

        A log can lose its end and grow beyond our position while its broker does not answer. Then
        no fetch fails: only the leader epoch shows the loss. It changes with each election, so the
        leader is asked then. False if no broker answers. `is_current` returns whether there was no
        seek meanwhile.
        """
        known = self.read.get(chunk.partition)
        epoch, last = chunk.record_batches[0].leader_epoch, chunk.record_batches[-1]
        if (
            known is not None
            and known.leader_epoch != epoch
            and UNKNOWN_EPOCH not in (known.leader_epoch, epoch)
            and not await _still_has(consumer._client, chunk.partition, known)
        ):
            return False
        if is_current():
            self.read[chunk.partition] = Lineage(last.last + 1, last.leader_epoch)
        return True

    def log_missing(self, metrics: WorkerMetrics) -> None:
        """Log the records that the log has lost although it has later ones.

        The topic was compacted for a while, or the log was damaged.
        """
        for partition, ranges in self.missing.items():
            count = size(ranges)
            metrics.missing_records.inc(count)
            log.error(
                "records_missing_from_log",
                partition=str(partition),
                count=count,
                first=ranges[0].first,
                last=ranges[-1].last,
                ranges=[str(each) for each in joined(ranges)[:MOST_RANGES]],
                cure="set cleanup.policy=delete on the topic; usagepipe audit names them",
            )
        self.missing.clear()


async def _still_has(client: Any, partition: TopicPartition, read: Lineage) -> bool:
    try:
        ends = await epoch_ends(client, {partition: read.leader_epoch})
    except KafkaError as error:
        log.warning("leader_epoch_unknown", partition=str(partition), error=repr(error))
        return False
    return read.end_in(ends.get(partition)) is None

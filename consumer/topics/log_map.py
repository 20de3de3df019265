"""Says why offsets of a log have no readable record: control records, aborted records, or a loss.

Clients return records only. So this module fetches the record batches of these offsets, as a worker
does, and looks at their headers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from aiokafka.protocol.fetch import FetchRequest

from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.log.record_batches import record_batches_of
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.log.transactions import READ_COMMITTED
from usagepipe.consumer.topics.kafka_session import KafkaSession
from usagepipe.consumer.topics.leaders import by_leader, raise_for
from usagepipe.schemas.settings.kafka import KafkaSettings

MAX_BYTES: Final = 16 << 20  # of one answer; its first batch is complete, even if it is larger
MAX_WAIT_MS: Final = 500


@dataclass(slots=True)
class LogMap:
    """The offsets of `aborted` records, and those that are `missing` from the log.

    The remaining offsets are control records.
    """

    aborted: list[OffsetRange] = field(default_factory=list)
    missing: list[OffsetRange] = field(default_factory=list)


def map_log(
    kafka: KafkaSettings, partition: TopicPartition, ranges: Iterable[OffsetRange]
) -> LogMap:
    """Look at `ranges` of a partition, which are in order. Blocks.

    Raises:
        ServerUnavailableError: the leader did not answer.
        AccessError: the user may not read the topic.
        UsagePipeError: the broker refused.
    """
    found = LogMap()
    with KafkaSession(kafka) as session:
        for each in ranges:
            _look(session, partition, each, found)
    return found


def _look(
    session: KafkaSession, partition: TopicPartition, span: OffsetRange, found: LogMap
) -> None:
    offset = span.first
    while offset <= span.last:
        data, aborted = session.ask_leaders(partition.topic, partial(_fetch, partition, offset))
        reached = offset
        for step in record_batches_of(partition, data, offset, aborted):
            found.missing += _cut(step.missing, span)
            if step.aborted is not None:
                found.aborted += _cut([step.aborted], span)
            reached = max(reached, step.next_offset)
            if reached > span.last:
                break
        if reached == offset:  # no decided records there
            return
        offset = reached


async def _fetch(
    partition: TopicPartition, offset: int, client: Any
) -> tuple[memoryview, list[tuple[int, int]]]:
    topics = [(partition.topic, [(partition.partition, offset, MAX_BYTES)])]
    request = FetchRequest(MAX_WAIT_MS, 1, MAX_BYTES, READ_COMMITTED, topics)
    (leader,) = by_leader(client, {partition: offset})
    response = await client.send(leader, request)
    ((_, ((_, code, _, _, *more),)),) = response.topics
    raise_for(client, code, partition)
    return memoryview(more[-1]), _transactions(more)


def _transactions(more: Sequence[object]) -> list[tuple[int, int]]:
    """The aborted transactions: after the log's start, which old versions lack."""
    lists = [each for each in more[:-1] if isinstance(each, list)]
    return lists[0] if lists else []


def _cut(ranges: Sequence[OffsetRange], span: OffsetRange) -> Iterator[OffsetRange]:
    """The parts of `ranges` that lie in `span`."""
    for each in ranges:
        first, last = max(each.first, span.first), min(each.last, span.last)
        if first <= last:
            yield OffsetRange(first, last)

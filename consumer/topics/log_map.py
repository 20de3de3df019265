"""Says why offsets of a log have no readable record: control records, aborted records, or a loss.

Clients return records only. So this module fetches the record batches of these offsets, as a worker
does, and looks at their headers.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest

from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.log.record_batches import record_batches_of
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.log.transactions import READ_COMMITTED
from usagepipe.consumer.topics.kafka_credentials import aiokafka_options
from usagepipe.consumer.topics.leaders import by_leader, raise_for
from usagepipe.schemas.errors import ServerUnavailableError
from usagepipe.schemas.settings.kafka import KafkaSettings

MAX_BYTES: Final = 16 << 20  # of one answer; its first batch is complete, even if it is larger
MAX_WAIT_MS: Final = 500
TRIES: Final = 10  # while another broker becomes the leader
PAUSE_SECONDS: Final = 1.0


@dataclass(slots=True)
class LogMap:
    """The offsets of `aborted` records, and those that are `missing` from the log.

    The remaining offsets are control records.
    """

    aborted: list[OffsetRange] = field(default_factory=list)
    missing: list[OffsetRange] = field(default_factory=list)


def map_log(
    kafka: KafkaSettings, topic: str, partition: int, ranges: Sequence[OffsetRange]
) -> LogMap:
    """Look at `ranges` of a partition, which are in order. Blocks.

    Raises:
        ServerUnavailableError: the leader did not answer.
    """
    place = TopicPartition(topic, partition)
    try:
        return asyncio.run(_map(kafka, place, ranges))
    except (KafkaError, OSError) as error:
        raise ServerUnavailableError("Kafka", kafka.kafka, f"{place}: {error!r}") from error


async def _map(
    kafka: KafkaSettings, place: TopicPartition, ranges: Sequence[OffsetRange]
) -> LogMap:
    client = AIOKafkaClient(**aiokafka_options(kafka))
    try:
        await client.bootstrap()
        await client.set_topics([place.topic])
        found = LogMap()
        for each in ranges:
            await _look(client, place, each, found)
        return found
    finally:
        await client.close()


async def _look(
    client: AIOKafkaClient, place: TopicPartition, span: OffsetRange, found: LogMap
) -> None:
    offset = span.first
    while offset <= span.last:
        data, aborted = await _fetch(client, place, offset)
        reached = offset
        for step in record_batches_of(place, data, offset, aborted):
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
    client: AIOKafkaClient, place: TopicPartition, offset: int
) -> tuple[memoryview, list[tuple[int, int]]]:
    topics = [(place.topic, [(place.partition, offset, MAX_BYTES)])]
    request = FetchRequest(MAX_WAIT_MS, 1, MAX_BYTES, READ_COMMITTED, topics)
    for tries in range(1, TRIES + 1):
        try:
            (leader,) = by_leader(client, {place: offset})
            response = await client.send(leader, request)
            ((_, ((_, code, _, _, *more),)),) = response.topics
            raise_for(client, code, place)
        except KafkaError as error:
            if tries == TRIES or not error.retriable:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return memoryview(more[-1]), _transactions(more)
    raise AssertionError("the last try raises")


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

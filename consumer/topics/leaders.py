"""Asks the leaders of partitions for what aiokafka's consumer does not offer."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeVar

from aiokafka.errors import LeaderNotAvailableError, NoError, for_code
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition as AIOTopicPartition

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.log.transactions import READ_UNCOMMITTED

Asked = TypeVar("Asked")

_CONSUMER: Final = -1  # replicas have an id
_LATEST: Final = -1


async def log_ends(
    client: Any, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, int]:
    """The offset after the last record of each partition, also if a transaction is open.

    `client` is aiokafka's. Its consumer of committed records reports an end before the first open
    transaction, and an older worker may have read and committed later offsets.

    Raises:
        aiokafka.errors.KafkaError: a broker did not answer, or no longer leads a partition.
    """
    found: dict[TopicPartition, int] = {}
    for leader, asked in by_leader(client, dict.fromkeys(partitions, _LATEST)).items():
        topics = defaultdict(list)
        for partition, moment in asked.items():
            topics[partition.topic].append((partition.partition, moment))
        request = OffsetRequest(_CONSUMER, READ_UNCOMMITTED, list(topics.items()))
        response = await client.send(leader, request)
        for topic, answers in response.topics:
            for number, code, _, offset, *_ in answers:
                partition = TopicPartition(topic, number)
                raise_for(client, code, partition)
                found[partition] = offset
    return found


def by_leader(
    client: Any, asked: Mapping[TopicPartition, Asked]
) -> dict[int, dict[TopicPartition, Asked]]:
    """`asked` by the node that leads the partition.

    Raises:
        aiokafka.errors.LeaderNotAvailableError: `client` knows no leader of a partition.
    """
    found: dict[int, dict[TopicPartition, Asked]] = defaultdict(dict)
    for partition, question in asked.items():
        leader = client.cluster.leader_for_partition(AIOTopicPartition(*partition))
        if leader is None or leader < 0:
            client.force_metadata_update()
            raise LeaderNotAvailableError(str(partition))
        found[leader][partition] = question
    return found


def raise_for(client: Any, code: int, partition: TopicPartition) -> None:
    """Raise the error of `code`, if it is one. The partition may have a new leader."""
    if code:
        client.force_metadata_update()
    raise_error(code, str(partition))


def raise_error(code: int, what: str) -> None:
    """Raise aiokafka's error for `code`, if it is one. `what` was asked for."""
    error = for_code(code)
    if error is not NoError:
        raise error(what)

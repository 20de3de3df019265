"""Asks a partition's leader where a leader epoch ends in its log (KIP-101).

Kafka numbers the leaderships of a partition and writes this leader epoch into every record batch.
Offset and epoch together identify a log (`log/lineage.py`): after an unclean election, or a crash
that lost the end of a log, other records get its offsets.

aiokafka does not know the request. It is declared here with aiokafka's own types.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Int64, Schema, String

from usagepipe.consumer.log.lineage import EpochEnd
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.topics.leaders import by_leader, raise_for

_OFFSET_FOR_LEADER_EPOCH: Final = 23
_VERSION: Final = 3  # since Kafka 2.3; later versions differ in encoding only
_CONSUMER: Final = -1  # replicas have an id
_ANY: Final = -1  # the current epoch is unknown
_EPOCHS: Final = Array(
    ("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32)
)
_ENDS: Final = Array(
    ("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64)
)


class _Response(Response):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = _OFFSET_FOR_LEADER_EPOCH
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("topics", Array(("topic", String("utf-8")), ("partitions", _ENDS))),
    )


class _RequestV3(RequestStruct):  # type: ignore[misc]
    API_KEY = _OFFSET_FOR_LEADER_EPOCH
    API_VERSION = _VERSION
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("topics", Array(("topic", String("utf-8")), ("partitions", _EPOCHS))),
    )


class _Request(Request[_RequestV3]):  # type: ignore[misc]
    API_KEY: ClassVar[int] = _OFFSET_FOR_LEADER_EPOCH

    def __init__(self, epochs: Mapping[TopicPartition, int]) -> None:
        self._epochs = epochs

    def build(self, request_struct_class: Any) -> Any:
        topics = defaultdict(list)
        for partition, epoch in self._epochs.items():
            topics[partition.topic].append((partition.partition, _ANY, epoch))
        return request_struct_class(_CONSUMER, list(topics.items()))


async def epoch_ends(
    client: Any, epochs: Mapping[TopicPartition, int]
) -> dict[TopicPartition, EpochEnd]:
    """Where each partition's epoch ends. A broker that does not know the request adds nothing.

    `client` is aiokafka's.

    Raises:
        aiokafka.errors.KafkaError: a broker did not answer, or no longer leads a partition.
    """
    found: dict[TopicPartition, EpochEnd] = {}
    for leader, asked in by_leader(client, epochs).items():
        try:
            response = await client.send(leader, _Request(asked))
        except (IncompatibleBrokerVersion, NotImplementedError):
            continue
        for topic, partitions in response.topics:
            for code, number, leader_epoch, offset in partitions:
                raise_for(client, code, TopicPartition(topic, number))
                found[TopicPartition(topic, number)] = EpochEnd(leader_epoch, offset)
    return found

"""Asks the broker for a topic's id. A topic that was created again under an old name has another.

aiokafka speaks Metadata up to version 5, and topic ids came with version 10 (KIP-516). librdkafka's
admin client can abort its process when a broker dies. So the request is declared here with
aiokafka's own types. A worker sends it over its consumer's connection.
"""

from io import BytesIO
from typing import Any, ClassVar
from uuid import UUID

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.topics.leaders import raise_error

_METADATA = 3
_VERSION = 10
_TEXT = CompactString("utf-8")
_BROKERS = CompactArray(
    ("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", TaggedFields)
)
_NO_ID = UUID(int=0)


class _Uuid(AbstractType):  # type: ignore[misc]  # aiokafka is untyped
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = _METADATA
    API_VERSION = _VERSION
    # It ends at the id of the topic, the only one that is asked for: the rest is not read.
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", _BROKERS),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        ("topics", CompactArray(("error_code", Int16), ("name", _TEXT), ("topic_id", _Uuid))),
    )


class _MetadataRequestV10(RequestStruct):  # type: ignore[misc]
    API_KEY = _METADATA
    API_VERSION = _VERSION
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestV10]):  # type: ignore[misc]
    API_KEY: ClassVar[int] = _METADATA

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class([(_NO_ID, self._topic, {})], False, False, False, {})


async def topic_identity(client: Any, topic: str) -> TopicIdentity:
    """The id of `topic` (32 hexadecimal digits) and of its cluster; `client` is aiokafka's.

    Raises:
        aiokafka.errors.KafkaError: the topic does not exist, or the broker did not answer.
        NotImplementedError: the broker is older than Kafka 2.8 and has no topic ids.
    """
    node = client.get_random_node()
    response = await client.send(node, _MetadataRequest(topic))
    ((error_code, _, identity),) = response.topics
    raise_error(error_code, topic)
    return TopicIdentity(response.cluster_id or "", identity.hex)

"""Record batches that are small on the wire and huge when they are unpacked, and how they are sent.

They are made in pieces: neither a test nor a client's producer should hold one unpacked.
"""

import asyncio
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import cramjam
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

_PIECE_BYTES: Final = 1 << 20
_HEADERS_A_PIECE: Final = 100_000
_HEADER: Final = struct.Struct(">hiqqqhii")  # what the checksum covers, before the records
_FRONT: Final = struct.Struct(">qiibI")
SECONDS: Final = 60


def bomb(
    codec: int,
    mebibytes: int,
    *,
    count: int = 1,
    noise: int = 0,
    first: int = 0,
    timestamp: int = 0,
) -> bytes:
    """A batch of `count` records without a key, whose values have so many MiB each.

    A MiB is `noise` random bytes, which cannot be compressed, and blanks.
    """
    body = _PACKERS[codec](_records(count, mebibytes, noise))
    return batch_of(codec, body, count=count, first=first, timestamp=timestamp)


def batch_of_headers(codec: int, headers: int, value: bytes) -> bytes:
    """A batch of one record that has so many headers of two bytes each."""
    front = b"\0\0\0" + varint(-1) + varint(len(value)) + value + varint(headers)
    pieces = [varint(len(front) + 2 * headers) + front]
    pieces += [b"\0\1" * _HEADERS_A_PIECE] * (headers // _HEADERS_A_PIECE)
    return batch_of(codec, _PACKERS[codec](iter(pieces)))


def batch_of(
    codec: int, body: bytes, *, count: int = 1, first: int = 0, timestamp: int = 0
) -> bytes:
    """The batch of the packed `body`, whose header claims `count` records."""
    checked = _HEADER.pack(codec, count - 1, timestamp, timestamp, -1, -1, -1, count) + body
    length = _FRONT.size - 12 + len(checked)
    return _FRONT.pack(first, length, 0, 2, calc_crc32c(checked)) + checked


def send_batch(kafka: str, topic: str, partition: int, data: bytes) -> None:
    """Append a batch as it is; raises if the broker refuses it."""
    asyncio.run(_send(kafka, topic, partition, data))


async def _send(kafka: str, topic: str, partition: int, data: bytes) -> None:
    client = AIOKafkaClient(bootstrap_servers=kafka, request_timeout_ms=SECONDS * 1000)
    await client.bootstrap()
    try:
        await client.set_topics([topic])
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = ProduceRequest(
            transactional_id=None,
            required_acks=-1,
            timeout=SECONDS * 1000,
            topics=[(topic, [(partition, data)])],
        )
        answer = await client.send(leader, request)
    finally:
        await client.close()
    ((_, ((_, error, *_),)),) = answer.topics
    assert 0 == error


def _records(count: int, mebibytes: int, noise: int) -> Iterator[bytes]:
    """https://kafka.apache.org/documentation/#record"""
    value = mebibytes * _PIECE_BYTES
    for number in range(count):
        front = b"\0\0" + varint(number) + varint(-1) + varint(value)
        yield varint(len(front) + value + 1) + front
        for _ in range(mebibytes):
            yield os.urandom(noise) + b" " * (_PIECE_BYTES - noise)
        yield varint(0)


def varint(number: int) -> bytes:
    """Zigzag, as in records."""
    number = number << 1 if number >= 0 else -(number << 1) - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _gzip(pieces: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join([*map(packer.compress, pieces), packer.flush()])


def _snappy(pieces: Iterator[bytes]) -> bytes:
    blocks = (bytes(cramjam.snappy.compress_raw(piece)) for piece in pieces)
    return b"\x82SNAPPY\0\0\0\0\1\0\0\0\1" + b"".join(
        struct.pack(">i", len(block)) + block for block in blocks
    )


def _lz4(pieces: Iterator[bytes]) -> bytes:
    # Kafka takes blocks that stand alone only.
    packer = cramjam.lz4.Compressor(content_checksum=False, block_linked=False)
    for piece in pieces:
        packer.compress(piece)
    return bytes(packer.finish())


def _zstd(pieces: Iterator[bytes]) -> bytes:
    packer = cramjam.zstd.Compressor()
    for piece in pieces:
        packer.compress(piece)
    return bytes(packer.finish())


_PACKERS: Final[dict[int, Callable[[Iterator[bytes]], bytes]]] = {
    DefaultRecordBatch.CODEC_NONE: b"".join,
    DefaultRecordBatch.CODEC_GZIP: _gzip,
    DefaultRecordBatch.CODEC_SNAPPY: _snappy,
    DefaultRecordBatch.CODEC_LZ4: _lz4,
    DefaultRecordBatch.CODEC_ZSTD: _zstd,
}

"""Unpacks record batches within a bound: the broker's limits are of compressed bytes, and a batch
of 1 MiB may hold 30 GiB of blanks.

Whoever may write to the topic can send one. The worker that unpacked it whole would be killed, and
after it each one that gets the partition. So a batch is measured first, into room that is never
read, and unpacked into just the room that it needs.
"""

import struct
from collections.abc import Callable, Mapping
from functools import cache
from mmap import mmap
from typing import Final

import cramjam
from aiokafka.record.default_records import DefaultRecordBatch

# A batch has at most 1 MiB on the wire (schemas/topics.py), and events are compressed to a sixth or
# a tenth. What holds six times as much is no batch of events any more.
MAX_UNPACKED_BYTES: Final = 64 << 20
# No events shrink to a thousandth. Zstandard goes to a thirty-thousandth: 1 MiB of such batches, a
# fetch, would keep the consumer's thread busy for longer than its session.
MAX_RATIO: Final = 1_000
_LEAST_ROOM: Final = 1 << 20  # whatever the ratio
# Java's clients cut snappy into blocks, each behind its length.
# https://github.com/xerial/snappy-java#compatibility-notes
_XERIAL: Final = b"\x82SNAPPY\0"
_XERIAL_HEADER_BYTES: Final = 16
_BLOCK_BYTES: Final = struct.Struct(">I")
_NO_ROOM: Final = "failed to write whole buffer"  # Rust's own words, which cramjam hands on


class TooLargeError(Exception):
    """More than there is room for."""


class UndecodableError(Exception):
    """Not what the codec makes; brokers look less closely than our decoders."""


def measure(codec: int, body: memoryview) -> int:
    """How many bytes `body`, which `codec` (of a record batch's attributes) packed, has unpacked.

    Raises:
        TooLargeError: more than MAX_UNPACKED_BYTES, or MAX_RATIO times as many as packed.
        UndecodableError: it cannot be unpacked.
    """
    if codec == DefaultRecordBatch.CODEC_NONE:
        if len(body) > MAX_UNPACKED_BYTES:
            raise TooLargeError
        return len(body)
    most = max(_LEAST_ROOM, len(body) * MAX_RATIO)
    try:
        return _unpack_into(codec, body, memoryview(_scratch())[:most])
    except TooLargeError:
        # What was written to it is memory now: give much of it back, but not for each of thousands
        # of small batches, which would take longer than the consumer's session.
        if most > _LEAST_ROOM:
            _scratch.cache_clear()
        raise


def unpack(codec: int, body: memoryview, room: memoryview) -> None:
    """Unpack `body` into `room`, which has the size that was measured."""
    _unpack_into(codec, body, room)


@cache
def _scratch() -> mmap:
    """Room that takes memory only as far as it is written to.

    What is written is never read, so threads may share it.
    """
    return mmap(-1, MAX_UNPACKED_BYTES)


def _unpack_into(codec: int, body: memoryview, room: memoryview) -> int:
    if codec not in _DECODERS:
        raise UndecodableError(f"codec {codec}")
    try:
        return _DECODERS[codec](body, room)
    except cramjam.DecompressionError as error:
        if _NO_ROOM in str(error):
            raise TooLargeError from None
        raise UndecodableError(str(error)) from None


def _unpack_snappy(body: memoryview, room: memoryview) -> int:
    if body[: len(_XERIAL)].tobytes() != _XERIAL:
        return _unpack_block(body, room)
    end = 0
    body = body[_XERIAL_HEADER_BYTES:]
    while body:
        if len(body) < _BLOCK_BYTES.size:
            raise UndecodableError("a block's length is cut")
        (length,) = _BLOCK_BYTES.unpack_from(body)
        block, body = body[4 : 4 + length], body[4 + length :]
        end += _unpack_block(block, room[end:])
    return end


def _unpack_block(block: memoryview, room: memoryview) -> int:
    size = cramjam.snappy.decompress_raw_len(block)
    if size > len(room):
        raise TooLargeError
    return cramjam.snappy.decompress_raw_into(block, room)


_DECODERS: Final[Mapping[int, Callable[[memoryview, memoryview], int]]] = {
    DefaultRecordBatch.CODEC_GZIP: cramjam.gzip.decompress_into,
    DefaultRecordBatch.CODEC_SNAPPY: _unpack_snappy,
    DefaultRecordBatch.CODEC_LZ4: cramjam.lz4.decompress_into,
    DefaultRecordBatch.CODEC_ZSTD: cramjam.zstd.decompress_into,
}

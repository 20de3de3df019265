"""Unpacks record batches within a bound: a compressed batch of 1 MiB can have 30 GiB.

The broker limits compressed bytes, and any producer on the topic can send such a batch. It would
kill the worker that unpacks it, and then the next owner of the partition. So a batch is measured
first, into memory that is never read, and then unpacked into exactly the memory that it needs.
"""

import struct
from collections.abc import Callable, Mapping
from functools import cache
from mmap import mmap
from typing import Final

import cramjam
from aiokafka.record.default_records import DefaultRecordBatch

from usagepipe.schemas.errors import TooLargeError, UndecodableError

# A batch has at most 1 MiB on the wire (schemas/topics.py), and events compress to a sixth or a
# tenth. A batch of six times as much is not a batch of events.
MAX_UNPACKED_BYTES: Final = 64 << 20
# Events never compress to a thousandth. Zstandard can reach a thirty-thousandth: to unpack one
# fetch of such batches (1 MiB) would take the consumer's thread longer than its session timeout.
MAX_RATIO: Final = 1_000
_LEAST_ROOM: Final = 1 << 20  # bytes; small batches may exceed the ratio
# Java's clients cut snappy into blocks, each after its length.
# https://github.com/xerial/snappy-java#compatibility-notes
_XERIAL: Final = b"\x82SNAPPY\0"
_XERIAL_HEADER_BYTES: Final = 16
_BLOCK_BYTES: Final = struct.Struct(">I")
_NO_ROOM: Final = "failed to write whole buffer"  # the message of Rust, passed on by cramjam


def measure(codec: int, body: memoryview) -> int:
    """The unpacked bytes of `body`, which was compressed by `codec` (of the batch's attributes).

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
        return unpack(codec, body, memoryview(_scratch())[:most])
    except TooLargeError:
        # The written part now takes memory: release it if it can be large. Doing so for each of
        # thousands of small batches would take longer than the consumer's session timeout.
        if most > _LEAST_ROOM:
            _scratch.cache_clear()
        raise


@cache
def _scratch() -> mmap:
    """A buffer that takes memory only where it is written.

    Its content is never read, so threads may share it.
    """
    return mmap(-1, MAX_UNPACKED_BYTES)


def unpack(codec: int, body: memoryview, room: memoryview) -> int:
    """Unpack `body` into `room`, and return how much of `room` it takes.

    Raises:
        TooLargeError: `room` is too small.
        UndecodableError: it cannot be unpacked.
    """
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
            raise UndecodableError("the length of a block is cut")
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

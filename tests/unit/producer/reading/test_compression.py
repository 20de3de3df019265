"""Compressed answers: read where they can be, in bounded memory, and honestly counted where not."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from functools import reduce
from itertools import pairwise

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.framing import compression
from usagepipe.producer.reading.usage import Usage

LIMIT = 64 * 1024
BODY = json.dumps({"model": "m", "text": "word " * 99, "usage": {"prompt_tokens": 3}}).encode()
EXPECTED = Usage("m", 3, 0, 3)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def two_members(data: bytes) -> bytes:
    return gzip.compress(data[:99]) + gzip.compress(data[99:])


def two_frames(data: bytes) -> bytes:
    return zstd.compress(data[:99]) + zstd.compress(data[99:])


def packed_by(*packers: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """By each of them, in this order."""
    return lambda data: reduce(lambda inner, pack: pack(inner), packers, data)


PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("X-GZip", gzip.compress),
    ("gzip", two_members),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstd.compress),
    ("zstd", two_frames),
    ("br", brotli.compress),
    ("gzip, br", packed_by(gzip.compress, brotli.compress)),
    ("br,\tGZIP", packed_by(brotli.compress, two_members)),
    ("deflate, zstd, x-gzip", packed_by(raw_deflate, two_frames, gzip.compress)),
    (" identity , ,gzip,, identity,zstd,", packed_by(gzip.compress, zstd.compress)),
]
every_packer = pytest.mark.parametrize(("encoding", "pack"), PACKERS)


def read(encoding: str, *pieces: bytes, kind: str = "application/json") -> Usage | str:
    reader = AnswerReader(kind, encoding, LIMIT)
    for piece in pieces:
        reader.feed(piece)
    return reader.read()


@every_packer
@settings(deadline=None, max_examples=30)  # a shared machine may pause
@given(data=st.data())
def test_compressed_answer_is_read_in_any_pieces(
    encoding: str, pack: Callable[[bytes], bytes], data: st.DataObject
) -> None:
    """gzip, deflate in both of its forms, zstd and br, several members and frames too."""
    raw = pack(BODY)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=9)))

    found = read(encoding, *(raw[start:end] for start, end in pairwise([0, *cuts, len(raw)])))

    assert EXPECTED == found


@every_packer
def test_answer_larger_than_a_piece_is_read_to_its_end(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """What is left in the decoder when all of its input is in comes out too."""
    words = " ".join(str(number) for number in range(50_000))
    raw = pack(json.dumps({"model": "m", "text": words, "usage": {"prompt_tokens": 3}}).encode())

    assert EXPECTED == read(encoding, raw)
    assert EXPECTED == read(encoding, raw[:-20], raw[-20:])


@every_packer
def test_single_bytes_give_the_same(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Fed byte by byte it is read too."""
    raw = pack(BODY)

    assert EXPECTED == read(encoding, *(raw[at : at + 1] for at in range(len(raw))))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br"])
def test_bytes_that_are_not_what_they_say_are_counted(encoding: str) -> None:
    """A body under the wrong encoding is an answer that cannot be parsed."""
    assert "parse_failed" == read(encoding, b"\xff\xff" + BODY)


@every_packer
def test_small_answer_that_unpacks_into_much_is_given_up(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """100 MB of zeros cost no memory, and not the time to unpack them."""
    bomb = pack(bytes(100_000_000))
    reader = AnswerReader("application/json", encoding, LIMIT)
    tracemalloc.start()

    reader.feed(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "too_large" == reader.read()
    assert peak < 1024 * 1024


def test_stream_is_read_as_it_is_flushed() -> None:
    """Events of a compressed stream are seen when they pass, so a cut stream has its usage."""
    packer = zlib.compressobj(wbits=31)
    event = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n'
    flushed = packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)

    found = read("gzip", flushed, kind="text/event-stream")

    assert Usage("", 3, 4, 7) == found


@pytest.mark.parametrize("encoding", ["", "identity", "Identity , ,", " , identity"])
def test_coding_that_is_none_changes_nothing(encoding: str) -> None:
    """RFC 9110: `identity` and empty members of the list stand for no coding."""
    assert EXPECTED == read(encoding, BODY)


def test_nested_bomb_is_given_up() -> None:
    """Gigabytes of empty gzip members in a little br: they would cost time and show no output."""
    bomb = brotli.compress(gzip.compress(b"") * 1_000_000)

    assert len(bomb) < 1_000
    assert "too_large" == read("gzip, br", bomb)


@pytest.mark.parametrize(
    "encoding",
    [
        *("compress", "gzip, br", "br, gzip", "gzip, compress", "aws-chunked", "zstd", "br"),
        *("gzip, gzip, gzip, gzip", "gzip," * 10_000),
    ],
)
def test_coding_that_cannot_be_unpacked_is_counted(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown ones, those whose package is not installed, and more than anybody nests."""
    monkeypatch.setattr(compression, "_imported", lambda name: None)

    assert "compressed" == read(encoding, b"x")


@every_packer
@settings(deadline=None)  # a shared machine may pause
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_unpacked_without_an_error(
    encoding: str, pack: Callable[[bytes], bytes], raw: bytes
) -> None:
    """Broken and hostile bytes give a reason, never an error."""
    packed = pack(BODY)

    assert isinstance(read(encoding, raw, packed), str | Usage)
    assert isinstance(read(encoding, packed, raw), str | Usage)
    assert isinstance(read(encoding, packed[:20] + raw, packed[20:]), str | Usage)


@pytest.mark.parametrize("size", [1, 40_000_000])
def test_what_follows_deflate_is_let_go(size: int) -> None:
    """Bytes after the end of the document are not kept."""
    reader = AnswerReader("application/json", "deflate", LIMIT)
    reader.feed(zlib.compress(BODY))
    rest = bytes(min(size, 1_000_000))
    tracemalloc.start()

    for _ in range(size // len(rest)):
        reader.feed(rest)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert EXPECTED == reader.read()
    assert peak < 500_000


@pytest.mark.parametrize(
    ("coding", "empty"), [("gzip", gzip.compress(b"", mtime=0)), ("zstd", zstd.compress(b""))]
)
def test_bomb_of_empty_members_is_given_up(coding: str, empty: bytes) -> None:
    """Members that hold nothing cost time and count as no byte of output."""
    reader = AnswerReader("application/json", coding, LIMIT)

    reader.feed(empty * 20_000)

    assert "too_large" == reader.read()

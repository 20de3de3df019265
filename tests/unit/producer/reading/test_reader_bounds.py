"""For any input of any size the reader never raises and its memory stays bounded."""

import gzip
import json
import struct
import time
import tracemalloc
from collections.abc import Iterator
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.framing.kinds import KINDS
from usagepipe.producer.reading.usage import Usage
from usagepipe.producer.watching.body_prefix import PREFIX_BYTES, BodyPrefix

LIMIT = 256 * 1024  # the default of max_body_kilobytes
MEBIBYTE = 1024 * 1024
STREAM_BYTES = 100 * 1000 * 1000
PIECE = b"x" * 50_000
JSON, EVENTS, LINES = "application/json", "text/event-stream", "application/x-ndjson"
AWS = "application/vnd.amazon.eventstream"
# A message without headers and payload.
PRELUDE_OF_NOTHING = struct.pack(">II", 16, 0)
PRELUDE_OF_NOTHING += struct.pack(">I", crc32(PRELUDE_OF_NOTHING))
PRELUDE_OF_NOTHING += struct.pack(">I", crc32(PRELUDE_OF_NOTHING))
USAGE = b'"usage": {"prompt_tokens": 3, "completion_tokens": 4}'


def filled(before: bytes, piece: bytes, after: bytes) -> Iterator[bytes]:
    """`before`, 100 MB of `piece`, `after`."""
    yield before
    for _ in range(STREAM_BYTES // len(piece)):
        yield piece
    yield after


CHUNK = (
    b'data: {"model": "m", "choices": [{"delta": {"content": "%s"}}], "usage": null}\n\n' % PIECE
)
LAST = b'{"choices": [], %s}' % USAGE
HUGE = {
    "one string": (JSON, filled(b'{"text": "', PIECE, b'", %s}' % USAGE)),
    "one list of numbers": (JSON, filled(b'{"e": [0', b", 0.125" * 9_000, b"], %s}" % USAGE)),
    "one list of texts": (JSON, filled(b'{"e": [0', b', "ab"' * 9_000, b"], %s}" % USAGE)),
    "one array of answers": (JSON, filled(b"[{}", b',{"a":"%s"}' % PIECE, b",{%s}]" % USAGE)),
    "an unknown type": ("", filled(b'{"text": "', PIECE, b'", %s}' % USAGE)),
    "events": (EVENTS, filled(b"", CHUNK, b"data: %s\n\n" % LAST)),
    "events in pieces": (EVENTS, filled(b"", CHUNK[9:] + CHUNK[:9], b"\n\ndata: %s\n\n" % LAST)),
    "one event": (EVENTS, filled(b'data: {"text": "', PIECE, b'", %s}\n\n' % USAGE)),
    "one comment": (EVENTS, filled(b": ", PIECE, b"\n\ndata: {%s}\n\n" % USAGE)),
    "one field without a name": (EVENTS, filled(b"", PIECE, b"\n\ndata: {%s}\n\n" % USAGE)),
    "one event of many lines": (
        EVENTS,
        filled(b"data: {\n", b'data: "a": "%s",\n' % PIECE, b"data: %s}\n\n" % USAGE),
    ),
    "lines": (LINES, filled(b"", b'{"a": "%s"}\n' % PIECE, b"{%s}\n" % USAGE)),
    "one line": (LINES, filled(b'{"a": "', PIECE, b'", %s}\n' % USAGE)),
}


@pytest.mark.parametrize(("content_type", "pieces"), HUGE.values(), ids=HUGE)
def test_hundred_megabytes_add_less_than_one(content_type: str, pieces: Iterator[bytes]) -> None:
    """T-12, the reader's part: usage at the end of 100 MB is right, in less than 1 MiB."""
    reader = AnswerReader(content_type, "", LIMIT)
    tracemalloc.start()

    for piece in pieces:
        reader.feed(piece)
    usage = reader.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert isinstance(usage, Usage)
    assert (3, 4, 7) == (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    assert peak < MEBIBYTE


def test_many_responses_add_up_in_bounded_memory() -> None:
    """A realtime session of 5,000 responses whose ids are 2 KB: the sum is right, in 1 MiB."""
    reader = AnswerReader(EVENTS, "", LIMIT)
    tracemalloc.start()

    for number in range(5_000):
        response = b'{"id": "%d%s", %s}' % (number, PIECE[:2_000], USAGE)
        reader.feed(b'data: {"type": "response.done", "response": %s}\n\n' % response)
    usage = reader.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert isinstance(usage, Usage)
    assert (15_000, 20_000) == (usage.prompt_tokens, usage.completion_tokens)
    assert peak < MEBIBYTE


HOSTILE = {
    "brackets": (JSON, filled(b"", b"[" * 50_000, b"")),
    "braces": (JSON, filled(b"", b'{"usage":' * 5_000, b"")),
    "choices": (JSON, filled(b'{"choices":[{}', b",{}" * 9_000, b"]}")),
    "nested choices": (JSON, filled(b'{"choices":[', b"[" * 9_000, b"]}")),
    "a name": (JSON, filled(b'{"', PIECE, b'": 1}')),
    "a number": (JSON, filled(b'{"usage": ', b"9" * 50_000, b"}")),
    "a usage": (JSON, filled(b'{"usage": {"a": "', PIECE, b'"}}')),
    "a model": (JSON, filled(b'{"model": "', PIECE, b'"}')),
    "events with a usage each": (
        EVENTS,
        filled(b"", b'data: {"usage": {"a": "%s"}}\n\n' % PIECE, b""),
    ),
    "events that never end": (EVENTS, filled(b"data: {", b"\ndata:" * 9_000, b"")),
    "an AWS message": (AWS, filled(b"\x00\xff\xff\xff", PIECE, b"")),
}


@pytest.mark.alone
def test_a_word_that_is_repeated_takes_no_time() -> None:
    """A model can be made to say one word over and over: reading it costs its length, not its
    square.
    """
    reader = AnswerReader(EVENTS, "", LIMIT)
    for _ in range(3):
        reader.feed(b'data: {"model": "m"}\n\n')
    began = time.process_time()

    reader.feed(b'data: {"text": "%s!"}\n\n' % (b"usage" * 50_000))

    assert time.process_time() - began < 1


@pytest.mark.parametrize(("content_type", "pieces"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_streams_are_passed_over_in_bounded_memory(
    content_type: str, pieces: Iterator[bytes]
) -> None:
    """What nobody would send costs no memory either; 3 MB of it are enough to see that."""
    reader = AnswerReader(content_type, "", LIMIT)
    tracemalloc.start()

    for number, piece in enumerate(pieces):
        reader.feed(piece)
        if number * len(piece) > 3 * MEBIBYTE:
            break
    reader.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2 * MEBIBYTE


tokens = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b'"',
            b":",
            b",",
            b"\\",
            b"\\u0075",
            b"\\ud83d",
            b"\xff",
            b"\x00",
        ),
        *(b"NaN", b"1e999", b"-1", b"9" * 5_000, b"null", b"true", b"[" * 2_000, b'{"a":' * 2_000),
        *(b'"usage":', b'"usageMetadata":', b'"message":', b'"response":', b'"choices":[', USAGE),
        *(b'"cost":', b"1e-99999999", b"0.1", b'"type":"message_start"', b'"done":true'),
        *(b"data: ", b"data:", b"\n", b"\r", b"\r\n", b"\n\n", b": ", b"[DONE]", b"\xef\xbb\xbf"),
        *(b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb", b"\x1f\x8b\x08", b"x" * 3_000),
    ]
)
encodings = st.sampled_from(["", "", "", "gzip", "deflate", "br", "zstd", "compress"])


@settings(deadline=None, max_examples=1_000)  # a shared machine may pause
@given(st.sampled_from([*KINDS, "text/html"]), encodings, st.lists(tokens), st.booleans())
def test_broken_and_hostile_bodies_raise_nothing(
    content_type: str, encoding: str, pieces: list[bytes], complete: bool
) -> None:
    """Deep nesting, huge numbers, NaN, lone surrogates, no UTF-8, cut anywhere: a result."""
    reader = AnswerReader(content_type, encoding, 4_096)

    for piece in pieces:
        reader.feed(piece)
    found = reader.read(complete)

    assert isinstance(found, str | Usage)


NAMES = """
usage usageMetadata message response type model meta delta tokens billed_units x_groq choices
results iterations cost prompt_tokens output_tokens input_tokens total_tokens inputTokens
promptTokenCount thoughtsTokenCount prompt_eval_count candidates inputTextTokenCount
amazon-bedrock-invocationMetrics prompt_token_count output_tokens_details cached_tokens
reasoning_tokens done
"""
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES.split()),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@settings(deadline=None, max_examples=500)  # a shared machine may pause
@given(st.lists(values, max_size=4), st.sampled_from([JSON, EVENTS, LINES]))
def test_any_documents_raise_nothing(documents: list[object], content_type: str) -> None:
    """Well-formed JSON with anything in the places of usage stays within the contract."""
    reader = AnswerReader(content_type, "", LIMIT)

    for document in documents:
        start = b"data: " if content_type == EVENTS else b""
        reader.feed(start + json.dumps(document).encode() + b"\n\n")
    found = reader.read()

    assert isinstance(found, str) or min(found.prompt_tokens, found.total_tokens) >= 0


@pytest.mark.alone
@pytest.mark.parametrize(
    ("content_type", "begin", "piece"),
    [
        (JSON, b"[", b"{},"),
        (EVENTS, b"[", b"{},"),
        (EVENTS, b"", b"\n"),
        (EVENTS, b"", b"data:{}\n\n"),
        (LINES, b"", b"{}\n"),
        (AWS, b"", PRELUDE_OF_NOTHING),
    ],
)
def test_bomb_of_small_documents_is_given_up_soon(
    content_type: str, begin: bytes, piece: bytes
) -> None:
    """Some KiB that unpack into millions of documents or lines cost a moment, not seconds."""
    body = gzip.compress(begin + piece * (3_500_000 // len(piece)))
    reader = AnswerReader(content_type, "gzip", LIMIT)
    began = time.process_time()

    reader.feed(body)
    read = reader.read()

    assert "too_large" == read
    assert time.process_time() - began < 0.7


@pytest.mark.parametrize("content_type", [EVENTS, LINES])
def test_one_large_chunk_of_short_lines_is_bounded(content_type: str) -> None:
    """8 MiB of short lines that came at once are not held as millions of objects."""
    chunk = b"x\n" * (4 * MEBIBYTE)
    reader = AnswerReader(content_type, "", LIMIT)
    tracemalloc.start()

    reader.feed(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 * MEBIBYTE


def test_many_small_pieces_of_a_request_are_held_as_bytes() -> None:
    """64 KiB that an application read in pieces of two bytes take 64 KiB, and a little."""
    prefix = BodyPrefix(JSON)
    tracemalloc.start()

    for _ in range(PREFIX_BYTES):
        prefix.note(b"ab")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2 * PREFIX_BYTES

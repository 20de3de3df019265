"""Bedrock's binary event streams."""

import json
import struct
from base64 import b64encode
from binascii import crc32
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage

TYPE = "application/vnd.amazon.eventstream"
LIMIT = 4 * 1024


def message(event_type: str, payload: Any) -> bytes:
    """One message as AWS's documentation says, with text headers (type 7)."""
    names = {":event-type": event_type, ":message-type": "event"}
    headers = b"".join(
        struct.pack(">B", len(name))
        + name.encode()
        + struct.pack(">BH", 7, len(text))
        + text.encode()
        for name, text in names.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 12 + len(headers) + len(body) + 4, len(headers))
    unsigned = prelude + struct.pack(">I", crc32(prelude)) + headers + body
    return unsigned + struct.pack(">I", crc32(unsigned))


def chunk(event: Any) -> bytes:
    """A message of InvokeModelWithResponseStream: the model's own event, in base64."""
    inner = b64encode(json.dumps(event).encode()).decode()
    return message("chunk", {"bytes": inner, "p": "abcdefgh"})


CONVERSE = b"".join(
    [
        message("messageStart", {"role": "assistant"}),
        message("contentBlockDelta", {"delta": {"text": '"usage": {"inputTokens": 9}'}}),
        message("messageStop", {"stopReason": "end_turn"}),
        message(
            "metadata",
            {
                "metrics": {"latencyMs": 1},
                "usage": {
                    "inputTokens": 30,
                    "outputTokens": 628,
                    "totalTokens": 758,
                    "cacheReadInputTokens": 90,
                    "cacheWriteInputTokens": 10,
                },
            },
        ),
    ]
)
ANTHROPIC = b"".join(
    chunk(event)
    for event in (
        {"type": "message_start", "message": {"model": "claude", "usage": {"input_tokens": 25}}},
        {"type": "content_block_delta", "delta": {"text": "hello"}},
        {"type": "message_delta", "delta": {"stop_reason": "x"}, "usage": {"output_tokens": 15}},
        {
            "type": "message_stop",
            "amazon-bedrock-invocationMetrics": {"inputTokenCount": 1, "outputTokenCount": 2},
        },
    )
)
NOVA = b"".join(
    chunk(event)
    for event in (
        {"contentBlockDelta": {"delta": {"text": "hello"}}},
        {"metadata": {"usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}}},
    )
)
LLAMA = b"".join(
    chunk(event)
    for event in (
        {"generation": "a", "prompt_token_count": 11, "generation_token_count": 1},
        {"generation": "b", "prompt_token_count": None, "generation_token_count": 2},
        {
            "generation": "",
            "amazon-bedrock-invocationMetrics": {"inputTokenCount": 11, "outputTokenCount": 3},
        },
    )
)
STREAMS = [
    (CONVERSE, Usage("", 130, 628, 758, cached_tokens=90, cache_write_tokens=10)),
    (ANTHROPIC, Usage("claude", 25, 15, 40)),
    (NOVA, Usage("", 5, 7, 12)),
    (LLAMA, Usage("", 11, 3, 14)),
]


def read(*pieces: bytes, complete: bool = True) -> Usage | str:
    reader = AnswerReader(TYPE, "", LIMIT)
    for piece in pieces:
        reader.feed(piece)
    return reader.read(complete)


@pytest.mark.parametrize(
    ("stream", "expected"), STREAMS, ids=["converse", "claude", "nova", "llama"]
)
@settings(deadline=None, max_examples=50)  # a shared machine may pause
@given(data=st.data())
def test_usage_is_read_in_any_pieces(stream: bytes, expected: Usage, data: st.DataObject) -> None:
    """Converse's metadata, and the models' own events under InvokeModel."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=9)))

    found = read(*(stream[start:end] for start, end in pairwise([0, *cuts, len(stream)])))

    assert expected == found


def test_single_bytes_give_the_same() -> None:
    """Neither a length nor a checksum has to come in one piece."""
    found = read(*(CONVERSE[at : at + 1] for at in range(len(CONVERSE))))

    assert read(CONVERSE) == found


def test_message_over_the_bound_is_passed_over() -> None:
    """A large message hides neither what comes before nor what comes after it."""
    large = message("contentBlockDelta", {"delta": {"text": "x" * 5 * LIMIT}})

    found = read(*(piece for piece in (large[:100], large[100:9_000], large[9_000:] + CONVERSE)))

    assert read(CONVERSE) == found


def test_damaged_message_is_not_believed() -> None:
    """A payload whose checksum is wrong is no usage; the next message still counts."""
    damaged = bytearray(CONVERSE)
    damaged[damaged.index(b"758")] ^= 1

    assert "no_usage" == read(bytes(damaged))
    assert read(CONVERSE) == read(bytes(damaged), CONVERSE)


def test_stream_that_lost_its_frame_is_no_longer_read() -> None:
    """A length that its checksum does not confirm is not followed anywhere."""
    broken = bytearray(message("messageStart", {}))
    broken[8] ^= 1  # of the checksum

    assert "parse_failed" == read(bytes(broken) + CONVERSE)
    assert "parse_failed" == read(b"\xff" * 100_000)


def test_stream_that_was_cut_is_partial() -> None:
    """What Claude had used until then counts."""
    cut = ANTHROPIC[: len(ANTHROPIC) // 2]

    expected = Usage("claude", 25, 0, 25, usage_quality="partial")
    assert expected == read(cut, complete=False)


def test_model_and_metrics_of_a_stream_that_another_model_ended() -> None:
    """The model's events know the output only, Bedrock's metrics know all; the second answered."""
    to_other = {"type": "fallback", "from": {"model": "claude-a"}, "to": {"model": "claude-b"}}
    metrics = {"inputTokenCount": 40, "outputTokenCount": 75, "cacheReadInputTokenCount": 6_000}
    body = b"".join(
        chunk(event)
        for event in (
            {"type": "message_start", "message": {"id": "m", "model": "claude-a"}},
            *[{"type": "content_block_delta", "delta": {"text": "a"}}] * 3,
            {"type": "content_block_start", "content_block": to_other},
            {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 75}},
            {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics},
        )
    )
    reader = AnswerReader(TYPE, "", LIMIT)
    reader.feed(body)

    assert Usage("claude-b", 6_040, 75, 6_115, cached_tokens=6_000) == reader.read()

"""Streams with several models: the event names the one that answered."""

import json

import pytest

from tests.support.completions import (
    DONE,
    Event,
    chunk,
    claude,
    counts,
    last,
    read,
    stream,
)
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage


# The model that answered.
def fallback(model: str) -> Event:
    block = {"type": "fallback", "from": {"model": "claude-a"}, "to": {"model": model}}
    return {"type": "content_block_start", "index": 1, "content_block": block}


TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}


RUNS = [
    {"type": "message", "model": "claude-a", "input_tokens": 500, "output_tokens": 3},
    {"type": "fallback_message", "model": "claude-b", "input_tokens": 412, "output_tokens": 264},
]


@pytest.mark.parametrize("block", [True, False])
@pytest.mark.parametrize("iterations", [RUNS, None])
def test_model_after_a_fallback_is_the_one_that_answered(
    block: bool, iterations: list[Event] | None
) -> None:
    """The start names the model that declined, the block and the iterations the other."""
    first, _, delta, stop = claude(
        "m", {"input_tokens": 412, "output_tokens": 1}, 264, model="claude-a"
    )
    delta["usage"]["iterations"] = iterations
    between = [fallback("claude-b")] if block else []
    body = stream(first, TEXT, TEXT, TEXT, *between, TEXT, delta, stop)

    answered = "claude-b" if block or iterations else "claude-a"
    assert Usage(answered, 412, 264, 676) == read(body)
    assert read(body) == read(body, pieces=10_000)


def test_model_of_a_stream_that_is_cut_after_a_fallback() -> None:
    """The block names it before any usage does. Of several fallbacks the last one answers."""
    first = claude("m", {"input_tokens": 412, "output_tokens": 1}, 264, model="claude-a")[0]
    events = [first, TEXT, TEXT, fallback("claude-b"), TEXT, fallback("claude-c"), TEXT]

    usage = read(stream(*events), complete=False)

    assert isinstance(usage, Usage)
    assert ("claude-c", "partial") == (usage.model, usage.usage_quality)


def test_text_that_speaks_of_a_fallback_changes_no_model() -> None:
    """Only the block at its place counts."""
    first, _, delta, stop = claude("m", {"input_tokens": 9}, 4, model="claude-a")
    text = {"type": "text_delta", "text": json.dumps(fallback("claude-b"))}
    says = {"type": "content_block_delta", "index": 0, "delta": text}
    empty = {"type": "content_block_start", "content_block": {"type": "fallback", "to": None}}

    assert Usage("claude-a", 9, 4, 13) == read(stream(first, says, TEXT, says, empty, delta, stop))


def test_model_beside_the_usage_is_the_one_that_answered() -> None:
    """A gateway that goes on with another model names it in later chunks."""
    events = [chunk("c", model="a"), chunk("c", model="a"), last("c", counts(9, 4), model="b")]

    assert Usage("b", 9, 4, 13) == read(stream(*events, end=DONE))
    assert Usage("a", 9, 4, 13) == read(stream(*events[:2], last("c", counts(9, 4), model="")))


ROUTED = {"promptRouter": {"invokedModelId": "arn:aws:bedrock:eu::foundation-model/claude-b"}}


@pytest.mark.parametrize("limit", [16, 256 * 1024])
def test_model_that_a_prompt_router_chose(limit: int) -> None:
    """Bedrock's Converse names no model, but its router's choice."""
    body = {"usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}, "trace": ROUTED}
    reader = AnswerReader("application/json", "", limit)
    reader.feed(json.dumps(body).encode())

    assert Usage("claude-b", 9, 4, 13) == reader.read()


@pytest.mark.parametrize("limit", [16, 256 * 1024])
def test_model_of_a_json_answer_after_a_fallback(limit: int) -> None:
    """Also where a gateway puts the requested model's name into the answer."""
    usage = {"input_tokens": 412, "output_tokens": 264, "iterations": RUNS}
    body = {"type": "message", "model": "claude-a", "content": [], "usage": usage}
    reader = AnswerReader("application/json", "", limit)
    reader.feed(json.dumps(body).encode())

    assert Usage("claude-b", 412, 264, 676) == reader.read()

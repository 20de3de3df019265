"""Totals where nothing is output, descriptions of caches, and requests that only count tokens."""

import json
from typing import Any

import pytest

from tests.support.watched import CHAT, OVERLOADED, Bench, answering, reading
from usagepipe.producer import stamp_usage
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage

RANKS = [{"index": 3, "relevance_score": 0.98, "document": {"text": "x"}}, {"index": 0}]
TOTAL = {"usage": {"total_tokens": 815}}

INPUT_ONLY: dict[str, dict[str, Any]] = {
    "Jina": TOTAL | {"model": "m", "results": RANKS},
    "Jina, a list": TOTAL | {"model": "m", "object": "list", "results": RANKS},
    "Voyage": TOTAL | {"model": "m", "object": "list", "data": RANKS},
    "vLLM": TOTAL | {"id": "rerank-1", "model": "m", "results": RANKS},
    "scores": TOTAL | {"model": "m", "data": [{"index": 0, "object": "score", "score": 0.5}]},
    "NVIDIA": TOTAL | {"model": "m", "rankings": [{"index": 0, "logit": -1.5}]},
    "zeros beside it": {
        "model": "m",
        "results": RANKS,
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 815},
    },
    "vectors": TOTAL | {"model": "m", "embeddings": [[0.5, 0.25]]},
    "Together": {
        "object": "rerank",
        "model": "m",
        "results": RANKS,
        "usage": {"prompt_tokens": 815, "completion_tokens": 0, "total_tokens": 815},
    },
    "Cohere's form by LiteLLM": {
        "model": "m",
        "results": RANKS,
        "meta": {"billed_units": {"total_tokens": 815}, "tokens": None},
    },
    "Cohere's form, nulls": {
        "model": "m",
        "results": RANKS,
        "meta": {"billed_units": {"total_tokens": 815}, "tokens": {"input_tokens": None}},
    },
}
CACHE = {
    "name": "cachedContents/4jlb9dbiy8s1",
    "model": "models/gemini-3.5-flash",
    "usageMetadata": {"totalTokenCount": 696_219},
}
VERTEX_CACHE = CACHE | {
    "name": "projects/1/locations/us-central1/cachedContents/77",
    "usageMetadata": {"totalTokenCount": 43_130, "textCount": 160},
}
COUNTING = [
    "/v1/messages/count_tokens",
    "/v1/projects/p/publishers/anthropic/models/count-tokens:rawPredict",
    "/v1beta/models/gemini-3.5-flash:countTokens",
    "/v1/projects/p/locations/l/publishers/google/models/gemini-3.5-flash:computeTokens",
    "/model/anthropic.claude-v4%3A0/count-tokens",
    "/v1/responses/input_tokens",
    "/openai/v1/responses/input_tokens/",
    "/tokenize",
    "/gateway/v1/tokenize",
    "/v1/detokenize",
    "/v1/tokenize-text",
    "/utils/token_counter",
]


def read(answer: Any, limit: int = 64 * 1024) -> Usage | str:
    reader = AnswerReader("application/json", "", limit)
    reader.feed(json.dumps(answer).encode())
    return reader.read()


@pytest.mark.parametrize("limit", [24, 4_096])
@pytest.mark.parametrize("answer", INPUT_ONLY.values(), ids=INPUT_ONLY)
def test_total_is_input_where_nothing_is_output(answer: dict[str, Any], limit: int) -> None:
    """Rerankings and embeddings cost input only, under any name of the answer."""
    assert Usage("m", 815, 0, 815) == read(answer, limit)


def test_total_of_a_text_alone_stays_unclear() -> None:
    """Nobody knows how much of it was output."""
    found = read(TOTAL | {"model": "m", "choices": [{"text": "x"}]})

    assert Usage("m", 0, 0, 815, usage_quality="inconsistent") == found


@pytest.mark.parametrize("limit", [24, 4_096])
@pytest.mark.parametrize("cache", [CACHE, VERTEX_CACHE])
def test_description_of_a_cache_is_no_usage(cache: dict[str, Any], limit: int) -> None:
    """Each caller gets its size."""
    listed = {"cachedContents": [cache], "nextPageToken": "x"}

    assert ["no_usage"] * 3 == [read(answer, limit) for answer in (cache, listed, [cache])]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1beta/cachedContents/4jlb9dbiy8s1"),
        ("PATCH", "/v1beta/cachedContents/4jlb9dbiy8s1"),
        ("POST", "/v1beta/cachedContents"),
        ("GET", "/v1beta/cachedContents"),
    ],
)
def test_keeping_a_cache_is_no_event(method: str, path: str) -> None:
    """No model was asked."""
    bench = Bench(reading(answering(CACHE)))

    bench.ask(method, path, json={"model": CACHE["model"], "ttl": "300s"})

    assert [] == bench.recorder.events
    assert {"no_usage": 1} == bench.unrecorded


def test_answer_from_a_cache_is_usage() -> None:
    """What was read from the cache is a part of the prompt."""
    counts = {"promptTokenCount": 900, "cachedContentTokenCount": 800, "candidatesTokenCount": 5}

    found = read({"candidates": [], "usageMetadata": counts | {"totalTokenCount": 905}})

    assert Usage("", 900, 5, 905, cached_tokens=800) == found


@pytest.mark.parametrize("path", COUNTING)
@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (200, {"input_tokens": 14}, "no_usage"),
        (200, {"totalTokens": 36, "promptTokensDetails": [{"tokenCount": 36}]}, "no_usage"),
        (200, {"usage": {"prompt_tokens": 31, "total_tokens": 31}}, "no_usage"),
        (400, OVERLOADED, "failed"),
    ],
)
def test_request_that_counts_tokens_is_no_event(
    path: str, status: int, answer: object, reason: str
) -> None:
    """It is counted, and no model answered: neither tokens nor a request without them."""
    bench = Bench(reading(answering(answer, status=status)))

    bench.post(path, body={"model": "m", "messages": []})

    assert [] == bench.recorder.events
    assert {reason: 1} == bench.unrecorded


@pytest.mark.parametrize(
    "path",
    ["/v1/messages", "/v1/chat/completions", "/tokenize/chat", "/v1/models/m:generateContent", "/"],
)
def test_other_requests_are_events(path: str) -> None:
    """The last word of the path decides, not a word in it."""
    bench = Bench(answering(CHAT))

    bench.post(path)

    assert 38 == bench.event.total_tokens


def test_stamp_makes_any_request_an_event() -> None:
    """A handler knows what it did: a gateway's own `/tokenize` may ask a model."""
    bench = Bench(answering({}, before=lambda: stamp_usage("m", 9, 5)))

    bench.post("/tokenize")

    assert 14 == bench.event.total_tokens

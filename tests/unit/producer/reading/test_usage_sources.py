"""Streams with several sources of usage: each side comes from the source that knows more."""

import pytest

from tests.support.completions import DONE, METRICS, Event, chunk, counts, last, read, stream
from tests.support.usages import tally_of
from usagepipe.producer.reading.usage import Usage


# Two sources of usage in one answer.
def metrics(fresh: int, output: int, **cache: int) -> Event:
    return {"inputTokenCount": fresh, "outputTokenCount": output} | cache


CACHE = {"cacheReadInputTokenCount": 6_000, "cacheWriteInputTokenCount": 0}


def bedrock(start: Event, delta: Event, last_metrics: Event) -> list[Event]:
    return [
        {"type": "message_start", "message": {"id": "m", "model": "claude", "usage": start}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": delta},
        {"type": "message_stop", METRICS: last_metrics},
    ]


SOURCES = {
    "events know the output only": (
        bedrock({}, {"output_tokens": 75}, metrics(40, 75, **CACHE)), (6_040, 6_000, 75)
    ),
    "events know the input only": (
        bedrock({"input_tokens": 40}, {}, metrics(40, 75)), (40, 0, 75)
    ),
    "events say zero": (
        bedrock({"input_tokens": 0}, {"output_tokens": 75}, metrics(40, 75)), (40, 0, 75)
    ),
    "events know no cache": (
        bedrock({"input_tokens": 40}, {"output_tokens": 75}, metrics(40, 75, **CACHE)),
        (6_040, 6_000, 75),
    ),
    "events do not split": (
        bedrock({"input_tokens": 6_040}, {"output_tokens": 75}, metrics(40, 75, **CACHE)),
        (6_040, 6_000, 75),
    ),
    "events have a placeholder": (
        [*bedrock({"input_tokens": 40, "output_tokens": 1}, {}, metrics(40, 75))[::2]],
        (40, 0, 75),
    ),
    "both know all": (
        bedrock(
            {"input_tokens": 40, "cache_read_input_tokens": 6_000},
            {"output_tokens": 75},
            metrics(40, 75, **CACHE),
        ),
        (6_040, 6_000, 75),
    ),
    "metrics know less": (
        bedrock(
            {"input_tokens": 40, "cache_read_input_tokens": 6_000},
            {"output_tokens": 75},
            metrics(40, 70),
        ),
        (6_040, 6_000, 75),
    ),
    "metrics of zeros": (
        bedrock({"input_tokens": 40}, {"output_tokens": 75}, metrics(0, 0)), (40, 0, 75)
    ),
    "both in one event": (
        [
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 75},
                METRICS: metrics(40, 75, **CACHE),
            }
        ],
        (6_040, 6_000, 75),
    ),
    "a chat and metrics": (
        [last("c", {"completion_tokens": 75}), {METRICS: metrics(40, 75)}], (40, 0, 75)
    ),
    "Converse and metrics": (
        [{"usage": {"outputTokens": 75}, METRICS: metrics(40, 75)}], (40, 0, 75)
    ),
    "a total and metrics": (
        [{"usage": {"total_tokens": 115}, METRICS: metrics(40, 75)}], (40, 0, 75)
    ),
    "OpenAI's names and Gemini's": (
        [
            {
                "usage": {"completion_tokens": 75},
                "usageMetadata": {"promptTokenCount": 40, "totalTokenCount": 40},
            }
        ],
        (40, 0, 75),
    ),
    "OpenAI's names and Ollama's": (
        [{"usage": {"completion_tokens": 75}, "prompt_eval_count": 40, "eval_count": 75}],
        (40, 0, 75),
    ),
    "a later usage without the input": (
        [chunk("c", None, counts(40, 3)), last("c", {"completion_tokens": 75})], (40, 0, 75)
    ),
    "later usages without the output": (
        [
            {"usageMetadata": {"promptTokenCount": 40, "candidatesTokenCount": 75}},
            {"usageMetadata": {"promptTokenCount": 40, "totalTokenCount": 40}},
            {"usageMetadata": {"promptTokenCount": 40, "totalTokenCount": 40}},
        ],
        (40, 0, 75),
    ),
    "an empty usage and Groq's own": (
        [{"choices": [], "usage": {}, "x_groq": {"usage": counts(40, 75)}}], (40, 0, 75)
    ),
    "a usage of zeros and a choice's": (
        [{"usage": counts(0, 0), "choices": [{"usage": counts(40, 75)}]}], (40, 0, 75)
    ),
    "both sets of names, one of zeros": (
        [{"usage": counts(0, 0) | {"input_tokens": 40, "output_tokens": 75}}], (40, 0, 75)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("events", "expected"), SOURCES.values(), ids=SOURCES)
def test_fuller_numbers_are_not_hidden(events: list[Event], expected: tuple[int, ...]) -> None:
    """Input and output are each taken from the source that knows it, and never added."""
    for usage in (tally_of(*events), read(stream(*events, end=DONE))):
        assert isinstance(usage, Usage)
        found = usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens
        assert (*expected, "complete") == (*found, usage.usage_quality)
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_sources_that_differ_are_not_mixed_up() -> None:
    """Where the events know a side, the metrics change nothing of it."""
    typed = bedrock({"input_tokens": 5}, {"output_tokens": 7}, metrics(9, 12))

    assert Usage("claude", 5, 7, 12) == tally_of(*typed)

"""The reader's part of the numbered test cases: what three gateways do, and what we do better."""

import json
from typing import Any

import pytest

from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage

JSON = "application/json"
EVENTS = "text/event-stream"


def read(body: object, content_type: str = JSON) -> Usage | str:
    reader = AnswerReader(content_type, "", 256 * 1024)
    reader.feed(body if isinstance(body, bytes) else json.dumps(body).encode())
    return reader.read()


def events(*documents: Any, end: bytes = b"") -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(document).encode() for document in documents) + end


def totals(usage: Usage | str) -> tuple[int, int, int] | str:
    if isinstance(usage, str):
        return usage
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


def claude(**usage: Any) -> dict[str, Any]:
    return {"type": "message", "model": "claude", "usage": usage}


def gemini(**counts: int) -> dict[str, Any]:
    return {"modelVersion": "gemini", "usageMetadata": counts}


def openai(**usage: Any) -> dict[str, Any]:
    return {"model": "gpt", "usage": usage}


def test_missing_total_is_the_sum() -> None:
    """T-02: OpenAI usage 31/7 without a total is 31/7/38."""
    assert (31, 7, 38) == totals(read(openai(prompt_tokens=31, completion_tokens=7)))


def test_claude_has_no_total_of_its_own() -> None:
    """T-03: Anthropic 15/7 is 15/7/22."""
    assert (15, 7, 22) == totals(read(claude(input_tokens=15, output_tokens=7)))


def test_answer_without_usage_says_so() -> None:
    """T-07: JSON without usage gives no tokens and the reason no_usage."""
    assert "no_usage" == read({"model": "gpt", "choices": []})


def test_usage_before_the_last_chunk_is_found() -> None:
    """T-08: a chunk with usage, then another chunk, then [DONE]."""
    usage = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
    stream = events(
        {"model": "gpt", "choices": [], "usage": usage},
        {"model": "gpt", "choices": [{"delta": {}}], "usage": None},
        end=b"data: [DONE]\n\n",
    )

    assert Usage("gpt", 19, 10, 29) == read(stream, EVENTS)


def test_usage_in_two_events_of_a_claude_stream_is_put_together() -> None:
    """T-09: message_start 25/1, message_delta 15, message_stop is 25/15/40."""
    stream = events(
        {
            "type": "message_start",
            "message": {"model": "claude", "usage": {"input_tokens": 25, "output_tokens": 1}},
        },
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 15}},
        {"type": "message_stop"},
    )

    assert Usage("claude", 25, 15, 40) == read(stream, EVENTS)


def test_responses_api_has_the_names_of_claude_and_means_others() -> None:
    """T-10: a Responses answer 328/1052/1380 is that, cached and reasoning inside."""
    answer = {
        "object": "response",
        "model": "gpt-5",
        "usage": {
            "input_tokens": 328,
            "input_tokens_details": {"cached_tokens": 256},
            "output_tokens": 1052,
            "output_tokens_details": {"reasoning_tokens": 832},
            "total_tokens": 1380,
        },
    }

    expected = Usage("gpt-5", 328, 1052, 1380, cached_tokens=256, reasoning_tokens=832)
    assert expected == read(answer)


RAW = {"in": 100, "out": 30, "reasoning": 12, "read": 40, "write": 10}


@pytest.mark.parametrize(
    ("answer", "total"),
    [
        (
            openai(
                prompt_tokens=RAW["in"],
                completion_tokens=RAW["out"],
                prompt_tokens_details={"cached_tokens": RAW["read"]},
                completion_tokens_details={"reasoning_tokens": RAW["reasoning"]},
            ),
            130,
        ),
        (
            gemini(
                promptTokenCount=RAW["in"],
                candidatesTokenCount=RAW["out"],
                thoughtsTokenCount=RAW["reasoning"],
                cachedContentTokenCount=RAW["read"],
            ),
            142,
        ),
        (
            claude(
                input_tokens=RAW["in"],
                output_tokens=RAW["out"],
                cache_read_input_tokens=RAW["read"],
                cache_creation_input_tokens=RAW["write"],
                output_tokens_details={"thinking_tokens": RAW["reasoning"]},
            ),
            180,
        ),
    ],
    ids=["openai", "gemini", "claude"],
)
def test_same_numbers_mean_another_total_in_each_family(answer: Any, total: int) -> None:
    """T-24: 100 in, 30 out, 12 reasoning, 40 read, 10 written: 130, 142 or 180."""
    usage = read(answer)

    assert isinstance(usage, Usage)
    assert (total, "complete") == (usage.total_tokens, usage.usage_quality)


def test_parts_are_inside_of_their_totals() -> None:
    """T-25: subset family 100, read 40, write 10, out 30, reasoning 12, total 130 is complete."""
    usage = read(
        openai(
            prompt_tokens=100,
            completion_tokens=30,
            total_tokens=130,
            prompt_tokens_details={"cached_tokens": 40, "cache_write_tokens": 10},
            completion_tokens_details={"reasoning_tokens": 12},
        )
    )

    assert Usage("gpt", 100, 30, 130, 40, 10, 12) == usage


@pytest.mark.parametrize(
    ("case", "counts", "expected"),
    [
        ("T-26", (30, 7, 13, 5, 0), Usage("claude", 50, 5, 55, 7, 13)),
        ("T-28", (3085, 7, 19514, 253, 0), Usage("claude", 22606, 253, 22859, 7, 19514)),
        ("T-29", (2, 44225, 831, 244, 40), Usage("claude", 45058, 244, 45302, 44225, 831, 40)),
    ],
)
def test_claude_counts_the_cache_beside_the_input(
    case: str, counts: tuple[int, int, int, int, int], expected: Usage
) -> None:
    """T-26, T-28, T-29: reads and writes are added to the input, thinking is in the output."""
    fresh, cached, written, output, thinking = counts

    usage = read(
        claude(
            input_tokens=fresh,
            cache_read_input_tokens=cached,
            cache_creation_input_tokens=written,
            output_tokens=output,
            output_tokens_details={"thinking_tokens": thinking},
        )
    )

    assert expected == usage, case


@pytest.mark.parametrize(
    ("case", "counts", "expected"),
    [
        (
            "T-27",
            {
                "promptTokenCount": 20,
                "cachedContentTokenCount": 5,
                "candidatesTokenCount": 7,
                "thoughtsTokenCount": 3,
            },
            Usage("gemini", 20, 10, 30, cached_tokens=5, reasoning_tokens=3),
        ),
        (
            "T-31",
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 3,
                "toolUsePromptTokenCount": 5,
                "totalTokenCount": 20,
            },
            Usage("gemini", 15, 5, 20, reasoning_tokens=3, units={"input_tool_tokens": 5}),
        ),
    ],
)
def test_gemini_counts_thoughts_and_tools_beside(
    case: str, counts: dict[str, int], expected: Usage
) -> None:
    """T-27, T-31: thoughts are added to the output, what tools put in to the input."""
    assert expected == read(gemini(**counts)), case


def test_claude_stream_keeps_the_cache_of_its_start() -> None:
    """T-30: start 100, read 50, written 20, out 1, then delta out 25 is 170/25/195."""
    start = {
        "input_tokens": 100,
        "cache_read_input_tokens": 50,
        "cache_creation_input_tokens": 20,
        "output_tokens": 1,
    }
    stream = events(
        {"type": "message_start", "message": {"model": "claude", "usage": start}},
        {"type": "message_delta", "usage": {"output_tokens": 25}},
        {"type": "message_stop"},
    )

    assert Usage("claude", 170, 25, 195, 50, 20) == read(stream, EVENTS)


@pytest.mark.parametrize("zeros_at", [0, 1, 2])
def test_placeholder_of_zeros_replaces_nothing(zeros_at: int) -> None:
    """T-32: zeros before (or after) 17984/2668/1028/21680 leave those as they are."""
    counts = {
        "promptTokenCount": 17984,
        "candidatesTokenCount": 2668,
        "thoughtsTokenCount": 1028,
        "totalTokenCount": 21680,
    }
    documents = [gemini(**counts), gemini(**counts) | {"candidates": [{"finishReason": "STOP"}]}]
    documents.insert(zeros_at, gemini(**dict.fromkeys(counts, 0)))

    usage = read(events(*documents), EVENTS)

    assert Usage("gemini", 17984, 3696, 21680, reasoning_tokens=1028) == usage


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"total_tokens": 42}, (0, 0, 42, 0)),
        (
            {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "total_tokens": 15},
            (10, 0, 15, 4),
        ),
    ],
)
def test_tokens_of_no_class_are_in_the_total_only(
    usage: dict[str, Any], expected: tuple[int, int, int, int]
) -> None:
    """T-33: an event has no class `unclassified`: the total is kept and marked inconsistent."""
    found = read({"usage": usage})

    assert isinstance(found, Usage)
    assert expected == (*totals(found), found.cached_tokens)
    assert "inconsistent" == found.usage_quality


def test_unknown_provider_is_read_as_openai_like() -> None:
    """T-33: 100/30 with 12 of reasoning is 130 for every provider; a part is in no total twice."""
    usage = {
        "input_tokens": 100,
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 12},
    }

    assert Usage("", 100, 30, 130, reasoning_tokens=12) == read({"usage": usage})


def test_total_that_is_not_the_sum_stands_and_is_marked() -> None:
    """T-34: 10 (4 read), 3 (1 reasoning) and a given total of 20 are inconsistent."""
    usage = read(
        openai(
            prompt_tokens=10,
            completion_tokens=3,
            total_tokens=20,
            prompt_tokens_details={"cached_tokens": 4},
            completion_tokens_details={"reasoning_tokens": 1},
        )
    )

    expected = Usage("gpt", 10, 3, 20, 4, reasoning_tokens=1, usage_quality="inconsistent")
    assert expected == usage


def test_stream_without_usage_says_so() -> None:
    """T-40: a whole stream with no usage gives the one reason from which its event is made."""
    chunk = {"model": "gpt", "choices": [{"delta": {"content": "usage: 3"}}], "usage": None}
    stream = events(*[chunk] * 20, end=b"data: [DONE]\n\n")

    assert "no_usage" == read(stream, EVENTS)

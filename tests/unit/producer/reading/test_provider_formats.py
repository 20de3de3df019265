"""Payloads of providers and the normal form that they stand for."""

import json
from typing import Any

import pytest

from tests.support.usages import CHAT_COUNTS, usage_of
from usagepipe.producer.reading.framing.prefilter import may_matter
from usagepipe.producer.reading.framing.projection import Projection
from usagepipe.producer.reading.usage import Usage

CHAT = {
    "model": "gpt-5",
    "usage": {
        "prompt_tokens": 2006,
        "completion_tokens": 812,
        "total_tokens": 2818,
        "prompt_tokens_details": {"cached_tokens": 1920},
        "completion_tokens_details": {"reasoning_tokens": 768},
    },
}
RESPONSES = {
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


ANTHROPIC = {
    "type": "message",
    "model": "claude",
    "usage": {
        "input_tokens": 2,
        "cache_creation_input_tokens": 831,
        "cache_read_input_tokens": 44225,
        "output_tokens": 244,
        "output_tokens_details": {"thinking_tokens": 40},
    },
}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (CHAT, Usage("gpt-5", 2006, 812, 2818, cached_tokens=1920, reasoning_tokens=768)),
        (RESPONSES, Usage("gpt-5", 328, 1052, 1380, cached_tokens=256, reasoning_tokens=832)),
        (
            {
                "object": "text_completion",
                "usage": {"prompt_tokens": 5, "completion_tokens": 16, "total_tokens": 21},
            },
            Usage("", 5, 16, 21),
        ),
        (
            {"model": "embed", "usage": {"prompt_tokens": 8, "total_tokens": 8}},
            Usage("embed", 8, 0, 8),
        ),
        (
            {"usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45}},
            Usage("", 14, 45, 59),
        ),
        (
            ANTHROPIC,
            Usage(
                "claude",
                45058,
                244,
                45302,
                cached_tokens=44225,
                cache_write_tokens=831,
                reasoning_tokens=40,
            ),
        ),
        (
            {"usage": {"input_tokens": 1, "cache_read_input_tokens": 9, "output_tokens": 1}},
            Usage("", 10, 1, 11, cached_tokens=9),
        ),
    ],
)
def test_payload_is_read_into_the_normal_form(answer: dict[str, Any], expected: Usage) -> None:
    """Each shape gives the numbers that its provider means."""
    assert expected == usage_of(answer)


COHERE = {
    "billed_units": {"input_tokens": 25, "output_tokens": 9},
    "tokens": {"input_tokens": 91, "output_tokens": 11},
}
UNBILLED = {"input_unbilled_tokens": 66, "output_unbilled_tokens": 2}


REALTIME = {
    "type": "response.done",
    "response": {
        "model": "gpt-realtime",
        "usage": {
            "total_tokens": 253,
            "input_tokens": 132,
            "output_tokens": 121,
            "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "cached_tokens": 64},
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        },
    },
}

AUDIO = {"input_audio_tokens": 13, "output_audio_tokens": 91}
IMAGES = {"usage": {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210}}


SHAPES_OF_PROVIDERS = {
    "Realtime": (
        REALTIME,
        Usage("gpt-realtime", 132, 121, 253, 64, units=AUDIO),
    ),
    "images": (IMAGES, Usage("", 50, 4160, 4210)),
    "Groq": ({"model": "m", "x_groq": {"usage": CHAT_COUNTS}}, Usage("m", 42, 24, 66)),
    "Kimi": ({"choices": [{}, {"usage": CHAT_COUNTS}]}, Usage("", 42, 24, 66)),
    "Kimi's cache": ({"usage": CHAT_COUNTS | {"cached_tokens": 7}}, Usage("", 42, 24, 66, 7)),
    "Mistral": ({"usage": CHAT_COUNTS | {"num_cached_tokens": 7}}, Usage("", 42, 24, 66, 7)),
    "DeepSeek": (
        {"usage": CHAT_COUNTS | {"prompt_cache_hit_tokens": 32, "prompt_cache_miss_tokens": 10}},
        Usage("", 42, 24, 66, cached_tokens=32),
    ),
    "LiteLLM": (
        {"usage": CHAT_COUNTS | {"cache_read_input_tokens": 5, "cache_creation_input_tokens": 6}},
        Usage("", 42, 24, 66, 5, 6),
    ),
    "Voyage": ({"object": "list", "usage": {"total_tokens": 26}}, Usage("", 26, 0, 26)),
    "Mistral's conversations": (
        {
            "type": "conversation.response.done",
            "usage": {
                "prompt_tokens": 188,
                "completion_tokens": 55,
                "connector_tokens": 7112,
                "total_tokens": 7355,
            },
        },
        Usage("", 7300, 55, 7355),
    ),
    "OpenAI's compaction": (
        {"object": "response.compaction", "usage": {"input_tokens": 139, "output_tokens": 438}},
        Usage("", 139, 438, 577),
    ),
    "Gemini's embeddings": ({"usageMetadata": {"promptTokenCount": 7}}, Usage("", 7, 0, 7)),
    "Gemini in Code Assist": (
        {"response": {"modelVersion": "g", "usageMetadata": {"promptTokenCount": 7}}},
        Usage("g", 7, 0, 7),
    ),
    "thoughts among Vertex's candidates": (
        {
            "usageMetadata": {
                "promptTokenCount": 10,
                "candidatesTokenCount": 8,
                "thoughtsTokenCount": 5,
                "totalTokenCount": 18,
            }
        },
        Usage("", 10, 8, 18, reasoning_tokens=5),
    ),
    "Converse": (
        {"usage": {"inputTokens": 30, "outputTokens": 628, "totalTokens": 658}},
        Usage("", 30, 628, 658),
    ),
    "Converse, with its cache": (
        {
            "usage": {
                "inputTokens": 3,
                "cacheReadInputTokens": 1712,
                "cacheWriteInputTokens": 236,
                "outputTokens": 121,
                "totalTokens": 2072,
            }
        },
        Usage("", 1951, 121, 2072, 1712, 236),
    ),
    "Converse, the cache inside": (
        {
            "usage": {
                "inputTokens": 30,
                "cacheReadInputTokens": 20,
                "outputTokens": 5,
                "totalTokens": 35,
            }
        },
        Usage("", 30, 5, 35, cached_tokens=20),
    ),
    "Titan's embeddings": ({"embedding": [0.5], "inputTextTokenCount": 4}, Usage("", 4, 0, 4)),
    "Titan's text": (
        {"inputTextTokenCount": 5, "results": [{"tokenCount": 3}, {"tokenCount": 4}]},
        Usage("", 5, 7, 12),
    ),
    "Llama on Bedrock": (
        {"generation": "x", "prompt_token_count": 5, "generation_token_count": 7},
        Usage("", 5, 7, 12),
    ),
    "Cohere 2": (
        {"usage": COHERE | {"cached_tokens": 64}},
        Usage("", 91, 11, 102, 64, units=UNBILLED),
    ),
    "Cohere 1": ({"text": "x", "meta": COHERE}, Usage("", 91, 11, 102, units=UNBILLED)),
    "Cohere's embeddings": (
        {"meta": {"billed_units": {"input_tokens": 2, "image_tokens": 3}}},
        Usage("", 5, 0, 5, units={"input_image_tokens": 3}),
    ),
    "Cohere 1, streamed": (
        {"event_type": "stream-end", "response": {"meta": COHERE}},
        Usage("", 91, 11, 102, units=UNBILLED),
    ),
    "Cohere 2, streamed": (
        {"type": "message-end", "delta": {"usage": COHERE}},
        Usage("", 91, 11, 102, units=UNBILLED),
    ),
    "Ollama": (
        {"model": "llama3.2", "done": True, "prompt_eval_count": 26, "eval_count": 282},
        Usage("llama3.2", 26, 282, 308),
    ),
    "Ollama's embeddings": (
        {"model": "all-minilm", "embeddings": [[0.5]], "prompt_eval_count": 8},
        Usage("all-minilm", 8, 0, 8),
    ),
}


@pytest.mark.parametrize(
    ("answer", "expected"), SHAPES_OF_PROVIDERS.values(), ids=SHAPES_OF_PROVIDERS
)
def test_shape_of_a_provider_is_read(answer: dict[str, Any], expected: Usage) -> None:
    """Each family's own names, in the places where it writes them: neither the projection
    nor the pre-filter loses one."""
    projected: list[object] = []
    raw = json.dumps({"padding": [{}], **answer}).encode()
    Projection(projected.append).feed(raw)

    assert expected == usage_of(answer)
    assert [expected] == [usage_of(document) for document in projected]
    assert may_matter(raw)


def test_compaction_is_added_and_an_advisor_is_a_part() -> None:
    """Claude's totals leave both out; the advisor is another model, with another price."""
    run = {"input_tokens": 180_000, "output_tokens": 3_500, "cache_read_input_tokens": 7}
    usage = {
        "input_tokens": 23_000,
        "output_tokens": 1_000,
        "iterations": [run | {"type": "compaction"}, run | {"type": "advisor_message"}],
    }

    found = usage_of({"type": "message", "usage": usage})

    part = Usage("advisor_message", 180_007, 3_500, 183_507, cached_tokens=7)
    assert Usage("", 203_007, 4_500, 207_507, cached_tokens=7, parts=(part,)) == found


def test_reasoning_outside_of_the_output_is_added_to_it() -> None:
    """xAI counts reasoning in the total only: it belongs to the output."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 22,
        "completion_tokens_details": {"reasoning_tokens": 7},
    }

    assert Usage("", 10, 12, 22, reasoning_tokens=7) == usage_of({"usage": usage})

"""Payloads of providers and the normal form that they stand for."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.usages import usage_of
from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.framing.prefilter import may_matter
from usagepipe.producer.reading.framing.projection import Projection
from usagepipe.producer.reading.usage import Usage
from usagepipe.schemas.event import MAX_TOKENS

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


CHAT_COUNTS = {"prompt_tokens": 42, "completion_tokens": 24, "total_tokens": 66}
COHERE = {
    "billed_units": {"input_tokens": 25, "output_tokens": 9},
    "tokens": {"input_tokens": 91, "output_tokens": 11},
}
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
IMAGES = {"usage": {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210}}
SHAPES_OF_PROVIDERS = {
    "Realtime": (REALTIME, Usage("gpt-realtime", 132, 121, 253, cached_tokens=64)),
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
    "Cohere 2": ({"usage": COHERE | {"cached_tokens": 64}}, Usage("", 91, 11, 102, 64)),
    "Cohere 1": ({"text": "x", "meta": COHERE}, Usage("", 91, 11, 102)),
    "Cohere's embeddings": (
        {"meta": {"billed_units": {"input_tokens": 2, "image_tokens": 3}}},
        Usage("", 5, 0, 5),
    ),
    "Cohere 1, streamed": (
        {"event_type": "stream-end", "response": {"meta": COHERE}},
        Usage("", 91, 11, 102),
    ),
    "Cohere 2, streamed": (
        {"type": "message-end", "delta": {"usage": COHERE}},
        Usage("", 91, 11, 102),
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


def test_compaction_is_added_and_an_advisor_is_not() -> None:
    """Claude's totals leave both out; the advisor is another model, with another price."""
    run = {"input_tokens": 180_000, "output_tokens": 3_500, "cache_read_input_tokens": 7}
    usage = {
        "input_tokens": 23_000,
        "output_tokens": 1_000,
        "iterations": [run | {"type": "compaction"}, run | {"type": "advisor_message"}],
    }

    found = usage_of({"type": "message", "usage": usage})

    assert Usage("", 203_007, 4_500, 207_507, cached_tokens=7) == found


def tally_of(*answers: dict[str, Any]) -> Usage | None:
    tally = Tally()
    for answer in answers:
        tally.add(answer)
    tally.end()
    return tally.usage()


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"output_tokens": 15}, (25, 15)),
        ({"output_tokens": 15, "input_tokens": None}, (25, 15)),
        ({"output_tokens": 15, "input_tokens": 0}, (25, 15)),
        ({"output_tokens": 15, "input_tokens": 900}, (900, 15)),
        ({"output_tokens": None}, (25, 1)),
    ],
)
def test_delta_overlays_the_start(delta: dict[str, Any], expected: tuple[int, int]) -> None:
    """Null leaves a count as it is, the output is cumulative, and of the input the larger stays."""
    start = {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 25, "output_tokens": 1}},
    }

    usage = tally_of(start, {"type": "message_delta", "usage": delta})

    assert usage is not None
    assert expected == (usage.prompt_tokens, usage.completion_tokens)


def test_usage_of_each_chunk_is_not_added_up() -> None:
    """vLLM and Perplexity tell the sum so far with each chunk: the last one is the sum."""
    chunks = [{"usage": {"prompt_tokens": 9, "completion_tokens": n}} for n in range(5)]

    assert Usage("", 9, 4, 13) == tally_of(*chunks)


def done(response_id: str | None, tokens: int, **more: Any) -> dict[str, Any]:
    """The event that ends a response of a realtime session: half of its tokens were cached."""
    usage = {"input_tokens": 2 * tokens, "output_tokens": 1, "total_tokens": 2 * tokens + 1}
    usage |= {"input_token_details": {"cached_tokens": tokens}} | more
    response = {"usage": usage} | ({} if response_id is None else {"id": response_id})
    return {"type": "response.done", "response": response}


SESSION = {"type": "session.created", "session": {"model": "gpt-realtime"}}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([done("r1", 5)], (10, 1, 11, 5)),
        ([done("r1", 5), done("r2", 7), done("r3", 1)], (26, 3, 29, 13)),
        # Told again, a response counts once: the last word of the one that is told, else the first.
        ([done("r1", 5), done("r1", 7), done("r2", 1)], (16, 2, 18, 8)),
        ([done("r1", 5), done("r2", 7), done("r1", 5), done("r2", 7)], (24, 2, 26, 12)),
        # Without ids they cannot be told apart.
        ([done(None, 5), done(None, 7)], (14, 1, 15, 7)),
        ([done("r1", 5), {"type": "response.done", "response": {"id": "r2"}}], (10, 1, 11, 5)),
        ([done("r1", 5), done("r2", 0, output_tokens=0, total_tokens=0)], (10, 1, 11, 5)),
    ],
)
def test_responses_of_a_realtime_session_add_up(
    events: list[dict[str, Any]], expected: tuple[int, int, int, int]
) -> None:
    """One session, many responses: each costs its own tokens, and counts once."""
    prompt, completion, total, cached = expected

    found = tally_of(SESSION, *events)

    assert Usage("gpt-realtime", prompt, completion, total, cached_tokens=cached) == found


def test_session_that_is_cut_in_a_later_response_is_partial() -> None:
    """A response that was begun and never done cost tokens that nobody told."""
    tally = Tally()
    for event in (done("r1", 5), {"type": "response.created", "response": {"id": "r2"}}):
        tally.add(event)

    usage = tally.usage(complete=False)

    assert usage is not None
    assert (11, "partial") == (usage.total_tokens, usage.usage_quality)


def test_events_of_one_response_are_not_added_up() -> None:
    """Of one response the last event has the usage of all; another response is added to it."""
    one = [
        done("r1", tokens) | {"type": f"response.{word}"}
        for word, tokens in (("in_progress", 3), ("completed", 5))
    ]
    other = done("r2", 7) | {"type": "response.completed"}

    assert Usage("", 10, 1, 11, cached_tokens=5) == tally_of(*one)
    assert Usage("", 24, 2, 26, cached_tokens=12) == tally_of(*one, other)
    assert Usage("", 10, 1, 11, cached_tokens=5) == tally_of(*one, done("r1", 5))


@pytest.mark.parametrize("bad", [done("r1", -5), done("r1", 5, total_tokens=9)])
def test_contradiction_in_one_response_marks_the_sum(bad: dict[str, Any]) -> None:
    """What one response has too much another one may lack: the sum alone would not show it."""
    usage = tally_of(bad, done("r2", 5, total_tokens=13), done("r3", 5))

    assert usage is not None
    assert "inconsistent" == usage.usage_quality


@pytest.mark.parametrize(
    ("costs", "expected"),
    [(("0.1", "0.0000000000000001"), "0.1000000000000001"), (("0.1", None), None)],
)
def test_costs_of_responses_add_up(costs: tuple[str | None, ...], expected: str | None) -> None:
    """Exactly; and the sum is unknown where one of them is."""
    events = [
        done(f"r{number}", 5, **({} if cost is None else {"cost": Decimal(cost)}))
        for number, cost in enumerate(costs)
    ]

    usage = tally_of(*events)

    assert usage is not None
    assert (None if expected is None else Decimal(expected)) == usage.cost


def test_absurd_sum_of_responses_stays_within_the_contract() -> None:
    """Every count of the sum is kept at the bound, those of the cache too."""
    usage = tally_of(*(done(f"r{number}", MAX_TOKENS // 2) for number in range(9)))

    assert usage is not None
    assert {MAX_TOKENS} == {usage.prompt_tokens, usage.total_tokens, usage.cached_tokens}
    assert "inconsistent" == usage.usage_quality


def test_better_place_wins_in_any_order() -> None:
    """A typed event is believed before counts that stand elsewhere."""
    metrics = {"inputTokenCount": 1, "outputTokenCount": 2}
    typed = {"type": "message_delta", "usage": {"input_tokens": 5, "output_tokens": 7}}
    other = {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics}

    assert Usage("", 5, 7, 12) == tally_of(typed, other)
    assert Usage("", 5, 7, 12) == tally_of(other, typed)


def test_zeros_in_a_better_place_replace_nothing() -> None:
    """A placeholder is one wherever it stands."""
    zeros = {"type": "message_delta", "usage": {"input_tokens": 0, "output_tokens": 0}}

    assert Usage("", 42, 24, 66) == tally_of({"usage": CHAT_COUNTS}, zeros)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (Decimal("0.0133176"), Decimal("0.0133176")),
        (Decimal("4.25E-6"), Decimal("0.00000425")),
        (0, Decimal(0)),
        (3, Decimal(3)),
        ({"total_cost": Decimal("0.006"), "input_tokens_cost": Decimal("0.001")}, Decimal("0.006")),
        (Decimal("0.0004970133333333333"), Decimal("0.0004970133333333333")),
        (Decimal("-0.1"), None),
        (Decimal("Infinity"), None),
        (Decimal("NaN"), None),
        (Decimal(10**9), None),
        (0.5, None),
        (True, None),
        ("0.5", None),
        (None, None),
        ({}, None),
    ],
)
def test_cost_is_kept_exactly_or_not_at_all(cost: object, expected: Decimal | None) -> None:
    """What the provider reports is kept to its last digit; a float is never believed."""
    usage = usage_of({"usage": CHAT_COUNTS | {"cost": cost}})

    assert Usage("", 42, 24, 66, cost=expected) == usage


def test_absurd_sums_stay_within_the_contract() -> None:
    """Two counts at the bound add up to more than an event takes: kept at the bound and marked."""
    usage = usage_of({"usage": {"prompt_tokens": MAX_TOKENS, "completion_tokens": MAX_TOKENS}})

    expected = Usage("", MAX_TOKENS, MAX_TOKENS, MAX_TOKENS, usage_quality="inconsistent")
    assert expected == usage


def test_reasoning_outside_of_the_output_is_added_to_it() -> None:
    """xAI counts reasoning in the total only: it belongs to the output."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 22,
        "completion_tokens_details": {"reasoning_tokens": 7},
    }

    assert Usage("", 10, 12, 22, reasoning_tokens=7) == usage_of({"usage": usage})


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        [CHAT],
        "usage",
        {},
        {"usage": None},
        {"usage": "12 tokens"},
        {"usage": [1, 2]},
        {"usage": {}},
        {"usage": {"type": "duration", "seconds": 3}},
        {"usage": {"prompt_tokens": None, "completion_tokens": None}},
        {"choices": [{"message": {"content": '{"usage": {"prompt_tokens": 9}}'}}]},
        {"choices": [{"message": {"usage": {"prompt_tokens": 9}}}]},
        {"input_tokens": 14},
        {"inputTokens": 18},
        {"totalTokens": 36, "promptTokensDetails": [{"tokenCount": 36}]},
        {"meta": {"billed_units": {"search_units": 1}}},
        {"metadata": {"usage": {"inputTokens": 3}}, "usage": None},
        {"delta": {"usage": {"output_tokens": 3}}},
        {"response": {"usage": {"output_tokens": 3}}},
        {"tool_usage": {"image_gen": {"input_tokens": 3}}},
        {"done": False, "eval_count": 3},
        {"error": {"message": "overloaded"}},
    ],
)
def test_answer_without_usage_has_none(answer: object) -> None:
    """Nothing is invented: no usage where none stands at a known place."""
    assert usage_of(answer) is None


def test_usage_of_zeros_is_missing() -> None:
    """A usage of nothing but zeros keeps the request and says that its usage is missing."""
    answer = {"model": "m", "usage": {"prompt_tokens": 0, "completion_tokens": 0}}

    assert Usage("m", 0, 0, 0, usage_quality="missing") == usage_of(answer)


@pytest.mark.parametrize("bad", [-1, 1.5, float("nan"), float("inf"), "31", True, 10**13, [], {}])
def test_count_that_is_none_is_inconsistent(bad: object) -> None:
    """A count that cannot be one is 0, and the usage is marked; the sound counts stay."""
    usage = usage_of({"usage": {"prompt_tokens": bad, "completion_tokens": 7}})

    assert Usage("", 0, 7, 7, usage_quality="inconsistent") == usage


def test_whole_number_written_as_a_fraction_is_a_count() -> None:
    """31.0 is 31."""
    answer = {"usage": {"prompt_tokens": 31.0, "completion_tokens": 7}}

    assert Usage("", 31, 7, 38) == usage_of(answer)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 20},
        {"prompt_tokens": 1, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}},
        {"prompt_tokens": 1, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 4}},
    ],
)
def test_numbers_that_contradict_each_other_are_kept_and_marked(usage: dict[str, Any]) -> None:
    """The provider's total stands; the quality says that it does not add up."""
    found = usage_of({"usage": usage})

    assert found is not None
    assert "inconsistent" == found.usage_quality
    assert usage.get("total_tokens", 4) == found.total_tokens


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["usage", "type", "model", "total_tokens", "cache_read_input_tokens"]
                + [f"{side}_tokens" for side in ("prompt", "completion", "input", "output")]
                + [f"{side}_tokens_details" for side in ("prompt", "completion", "input", "output")]
                + ["cached_tokens", "reasoning_tokens", "thinking_tokens"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)  # a shared machine may pause
@given(json_values)
def test_any_json_is_read_without_an_error(answer: object) -> None:
    """Whatever stands in an answer, the counts are within the contract and nothing is raised."""
    usage = usage_of({"usage": answer})

    assert usage is None or min(usage.prompt_tokens, usage.completion_tokens) >= 0


def test_later_counts_written_as_fractions_replace_the_earlier() -> None:
    """Some gateways write 900.0: in a stream too."""
    tally = Tally()
    tally.add({"usage": {"prompt_tokens": 5, "completion_tokens": 1}})
    tally.add({"usage": {"prompt_tokens": Decimal("5.0"), "completion_tokens": Decimal("900.0")}})
    tally.end()

    usage = tally.usage()

    assert usage is not None
    assert (5, 900, 905) == (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ({"cost": Decimal("0.04")}, (0, "missing")),
        ({"prompt_tokens": 0, "completion_tokens": 0, "cost": Decimal("0.04")}, (0, "missing")),
    ],
)
def test_cost_without_tokens_is_kept(last: dict[str, Any], expected: tuple[int, str]) -> None:
    """A request that is paid for by the piece has a cost and no tokens."""
    usage = usage_of({"usage": last})

    assert usage is not None
    assert (*expected, Decimal("0.04")) == (usage.total_tokens, usage.usage_quality, usage.cost)


def test_cost_that_comes_after_the_tokens_is_kept() -> None:
    """A last usage of zeros replaces no tokens, and its cost is not lost."""
    tally = Tally()
    tally.add({"usage": {"prompt_tokens": 5, "completion_tokens": 1}})
    tally.add({"usage": {"prompt_tokens": 0, "completion_tokens": 0, "cost": Decimal("0.5")}})
    tally.end()

    usage = tally.usage()

    assert usage is not None
    assert (6, Decimal("0.5")) == (usage.total_tokens, usage.cost)

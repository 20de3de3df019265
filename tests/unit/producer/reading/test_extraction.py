"""One usage of an answer with several objects, and of numbers that are missing, absurd or wrong."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.usages import CHAT_COUNTS, tally_of, usage_of
from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.usage import Usage
from usagepipe.schemas.event import MAX_TOKENS


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
    """vLLM and Perplexity send the sum so far with each chunk: the last one counts."""
    chunks = [{"usage": {"prompt_tokens": 9, "completion_tokens": n}} for n in range(5)]

    assert Usage("", 9, 4, 13) == tally_of(*chunks)


def test_better_place_wins_in_any_order() -> None:
    """A typed event is believed before counts that stand elsewhere."""
    metrics = {"inputTokenCount": 1, "outputTokenCount": 2}
    typed = {"type": "message_delta", "usage": {"input_tokens": 5, "output_tokens": 7}}
    other = {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics}

    assert Usage("", 5, 7, 12) == tally_of(typed, other)
    assert Usage("", 5, 7, 12) == tally_of(other, typed)


def test_zeros_in_a_better_place_replace_nothing() -> None:
    """A usage of zeros is a placeholder in any place."""
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


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        [{"model": "gpt-5", "usage": CHAT_COUNTS}],
        "usage",
        {},
        {"usage": None},
        {"usage": "12 tokens"},
        {"usage": [1, 2]},
        {"usage": {}},
        {"usage": {"type": "duration", "seconds": 0}},
        {"usage": {"prompt_tokens": None, "completion_tokens": None}},
        {"choices": [{"message": {"content": '{"usage": {"prompt_tokens": 9}}'}}]},
        {"choices": [{"message": {"usage": {"prompt_tokens": 9}}}]},
        {"input_tokens": 14},
        {"inputTokens": 18},
        {"totalTokens": 36, "promptTokensDetails": [{"tokenCount": 36}]},
        {"meta": {"billed_units": {"search_units": 0}}},
        {"metadata": {"usage": {"inputTokens": 3}}, "usage": None},
        {"delta": {"usage": {"output_tokens": 3}}},
        {"response": {"usage": {"output_tokens": 3}}},
        {"tool_usage": {"image_gen": {"input_tokens": 3}}},
        {"done": False, "eval_count": 3},
        {"error": {"message": "overloaded"}},
    ],
)
def test_answer_without_usage_has_none(answer: object) -> None:
    """An answer without usage at a known place has none."""
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
    """The provider's total is kept; the quality says that it does not add up."""
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
    """For any JSON the counts are within the contract, and nothing is raised."""
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

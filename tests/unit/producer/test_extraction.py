"""Payloads of providers and the normal form that they stand for."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usagepipe.producer.extraction import Usage, usage_of

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

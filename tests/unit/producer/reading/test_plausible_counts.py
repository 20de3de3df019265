"""Counts that contradict each other are marked, wherever they come in."""

from typing import Any

import pytest

from tests.support.usages import usage_of
from tests.support.watched import Bench, answering
from tests.unit.producer.watching.test_litellm_calls import CALLS, event
from usagepipe.producer import stamp_usage
from usagepipe.producer.reading.usage import Usage

CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "more cached than there is": {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "cached_tokens": 2_495,
    },
    "another total": {"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 900},
    "a smaller total": {"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 90},
    "more reasoning than output": {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "total_tokens": 15,
        "reasoning_tokens": 40,
    },
    "cached and written": {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "cached_tokens": 7,
        "cache_write_tokens": 7,
    },
}


def as_usage_object(counts: dict[str, int]) -> dict[str, Any]:
    """The same in OpenAI's form."""
    totals = {name: n for name, n in counts.items() if name.split("_")[0] in TOTALS}
    prompt = {name: n for name, n in counts.items() if name.startswith("cache")}
    output = {name: n for name, n in counts.items() if name.startswith("reasoning")}
    return totals | {"prompt_tokens_details": prompt, "completion_tokens_details": output}


TOTALS = ("prompt", "completion", "total")
cases = pytest.mark.parametrize("counts", CONTRADICTIONS.values(), ids=CONTRADICTIONS)


@cases
def test_contradiction_in_an_answer_is_marked(counts: dict[str, int]) -> None:
    """The reader's own check."""
    found = usage_of({"usage": as_usage_object(counts)})

    assert found is not None
    assert ("inconsistent", counts["prompt_tokens"]) == (found.usage_quality, found.prompt_tokens)


@cases
def test_contradiction_in_a_call_of_litellm_is_marked(counts: dict[str, int]) -> None:
    """LiteLLM's account is not believed blindly: its numbers are kept and marked."""
    usage = as_usage_object(counts)
    metadata = CALLS["answered"]["metadata"] | {"usage_object": usage}
    totals = {f"{name}_tokens": usage.get(f"{name}_tokens") for name in TOTALS}

    found = event("answered", metadata=metadata, **totals)

    assert ("inconsistent", counts["prompt_tokens"]) == (found.usage_quality, found.prompt_tokens)
    assert counts.get("total_tokens", 15) == found.total_tokens


@cases
@pytest.mark.parametrize("quality", [None, "complete", "partial"])
def test_contradiction_in_a_stamp_is_marked(counts: dict[str, Any], quality: Any) -> None:
    """A handler's numbers are kept as they are, and marked even if it calls them complete."""
    bench = Bench(answering({}, before=lambda: stamp_usage("m", **counts, usage_quality=quality)))

    bench.post()

    kept = {name: getattr(bench.event, name) for name in counts}
    assert ("inconsistent", counts) == (bench.event.usage_quality, kept)


@pytest.mark.parametrize(
    "counts",
    [
        {"prompt_tokens": 9, "completion_tokens": 5},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 9, "completion_tokens": 5, "cached_tokens": 9, "reasoning_tokens": 5},
        {"prompt_tokens": 9, "total_tokens": 9, "cached_tokens": 4, "cache_write_tokens": 5},
    ],
)
def test_stamp_that_adds_up_is_complete(counts: dict[str, Any]) -> None:
    """A part may be all of its whole."""
    bench = Bench(answering({}, before=lambda: stamp_usage("m", **counts)))

    bench.post()

    assert "complete" == bench.event.usage_quality


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        # Perplexity's research counts its reasoning apart from the output, and charges it apart.
        (
            {"prompt_tokens": 33, "completion_tokens": 700, "total_tokens": 733},
            Usage("", 33, 74_697, 74_730, reasoning_tokens=73_997),
        ),
        (
            {"prompt_tokens": 33, "completion_tokens": 700},
            Usage("", 33, 74_697, 74_730, reasoning_tokens=73_997),
        ),
        (
            {"prompt_tokens": 33, "completion_tokens": 700, "total_tokens": 74_730},
            Usage("", 33, 74_697, 74_730, reasoning_tokens=73_997),
        ),
        (
            {"prompt_tokens": 33, "completion_tokens": 700, "total_tokens": 999},
            Usage("", 33, 700, 999, reasoning_tokens=73_997, usage_quality="inconsistent"),
        ),
        (
            {"prompt_tokens": 33, "completion_tokens": 80_000, "total_tokens": 80_033},
            Usage("", 33, 80_000, 80_033, reasoning_tokens=73_997),
        ),
    ],
)
def test_reasoning_at_the_top_is_not_dropped(usage: dict[str, int], expected: Usage) -> None:
    """More of it than the output is beside the output; less is a part of it."""
    assert expected == usage_of({"usage": usage | {"reasoning_tokens": 73_997}})

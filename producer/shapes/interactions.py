"""Gemini's Interactions API: one answer of a model or an agent, JSON or typed events.

What tools put into the prompt is counted beside the input, and thoughts beside the output, as
in Gemini's own API under other names. A background interaction has no usage until it is done.
"""

from collections.abc import Iterator
from typing import Final

from usagepipe.producer.shapes.counts import Counts
from usagepipe.producer.shapes.shape import Fields, Shape, fields_at
from usagepipe.producer.usage import Usage

INPUT_NAMES: Final = ("total_input_tokens", "total_tool_use_tokens")
OUTPUT_NAMES: Final = ("total_output_tokens", "total_thought_tokens")
NAMES: Final = frozenset(INPUT_NAMES + OUTPUT_NAMES)
LAST_EVENTS: Final = ("interaction.completed", "interaction.complete")  # the older name is last


class Interactions(Shape):
    """An interaction, or an event of its stream: `step.stop` has the usage until then."""

    def usage(self, answer: Fields) -> Fields | None:
        return next((found for found in _places(answer) if NAMES & found.keys()), None)

    def ends(self, answer: Fields) -> bool:
        return answer.get("event_type") in LAST_EVENTS

    def normal(self, counts: Counts) -> Usage:
        prompt = sum(counts.first(name) for name in INPUT_NAMES)
        completion = sum(counts.first(name) for name in OUTPUT_NAMES)
        return Usage(
            model="",
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=counts.first("total_tokens") or prompt + completion,
            cached_tokens=counts.first("total_cached_tokens"),
            reasoning_tokens=counts.first("total_thought_tokens"),
        )


def _places(answer: Fields) -> Iterator[Fields]:
    """Where usage may stand: any event may have it in its metadata too."""
    for found in (
        fields_at(answer, "interaction", "usage"),
        fields_at(answer, "usage"),
        fields_at(answer, "metadata", "total_usage"),
        fields_at(answer, "metadata", "usage"),
    ):
        if found is not None:
            yield found

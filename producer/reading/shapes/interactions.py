"""Gemini's Interactions API: one answer of a model or an agent, JSON or typed events.

What tools add to the prompt is counted separately from the input, and thoughts separately from the
output, as in Gemini's API under other names. A background interaction has no usage until it ends.
"""

from typing import ClassVar, Final

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.shape import Fields, Paths, Shape, fields_at, id_at
from usagepipe.producer.reading.shapes.units import Items, Tree, by_modality, units_with_tools
from usagepipe.producer.reading.usage import Usage

INPUT_NAMES: Final = ("total_input_tokens", "total_tool_use_tokens")
OUTPUT_NAMES: Final = ("total_output_tokens", "total_thought_tokens")
NAMES: Final = frozenset(INPUT_NAMES + OUTPUT_NAMES)
PLACE: Final = ("modality", "tokens")
GROUNDING: Final = {"google_search": "web_searches", "google_maps": "map_searches"}
BILLED: Final[Tree] = {
    "input_tokens_by_modality": by_modality("input_{}_tokens", *PLACE),
    "cached_tokens_by_modality": by_modality("cache_{}_read_tokens", *PLACE),
    "output_tokens_by_modality": by_modality("output_{}_tokens", *PLACE),
    "total_tool_use_tokens": "input_tool_tokens",
    "tool_use_tokens_by_modality": by_modality("input_{}_tool_tokens", *PLACE),
    "grounding_tool_count": Items("type", "count", GROUNDING),
}
TOOLS: Final[Tree] = {"tool_use_tokens_by_modality": by_modality("input_{}_tokens", *PLACE)}
LAST_EVENTS: Final = ("interaction.completed", "interaction.complete")  # the second is older


class Interactions(Shape):
    """An interaction, or an event of its stream: `step.stop` has the usage so far."""

    places = frozenset(("usage", "interaction", "metadata"))
    paths: ClassVar[Paths] = {
        **dict.fromkeys(("event_type", "usage", "service_tier"), True),
        "interaction": {"id": True, "usage": True, "service_tier": True},
        "metadata": {"usage": True, "total_usage": True},
    }
    marks = ("usage", "total_usage")
    sides = ("total_input_tokens", "total_output_tokens")
    billed: ClassVar[Tree] = BILLED

    def usage(self, answer: Fields) -> Fields | None:
        usage = _counted(fields_at(answer, "usage"))
        if usage is not None or "event_type" not in answer:
            return usage
        return _counted(fields_at(answer, "interaction", "usage")) or _in_metadata(answer)

    def units(self, usage: Fields) -> dict[str, int]:
        return units_with_tools(usage, BILLED, TOOLS)

    def tier(self, answer: Fields, usage: Fields) -> object:
        return (fields_at(answer, "interaction") or answer).get("service_tier")

    def part(self, answer: Fields) -> str | None:
        """Only the id in the last event of an interaction is used."""
        return id_at(fields_at(answer, "interaction") or {}, "id") if self.ends(answer) else None

    def is_next(self, earlier: Usage, later: Usage, ended: bool) -> bool:
        return ended

    def ends(self, answer: Fields) -> bool:
        return answer.get("event_type") in LAST_EVENTS

    def normal(self, counts: Counts) -> Usage:
        prompt = sum(counts.first(name) for name in INPUT_NAMES)
        completion = sum(counts.first(name) for name in OUTPUT_NAMES)
        total = counts.first("total_tokens") or prompt + completion
        cached = counts.first("total_cached_tokens")
        thoughts = counts.first("total_thought_tokens")
        return Usage("", prompt, completion, total, cached, reasoning_tokens=thoughts)


def _counted(usage: Fields | None) -> Fields | None:
    return None if usage is None or NAMES.isdisjoint(usage) else usage


def _in_metadata(event: Fields) -> Fields | None:
    """The usage so far. Any event may have it, under today's name or an older one."""
    total = _counted(fields_at(event, "metadata", "total_usage"))
    return total or _counted(fields_at(event, "metadata", "usage"))

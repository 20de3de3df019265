"""Gemini, by Google's AI Studio or Vertex: `usageMetadata`, cumulative in each event of a stream.

Thoughts are counted separately from the candidates; they are output. What tools add to the prompt
is counted separately from the prompt; it is input.
"""

from typing import Any, ClassVar, Final

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.shape import Fields, Paths, Shape, fields_at, id_at, items_of
from usagepipe.producer.reading.shapes.units import Tree, by_modality, units_with_tools
from usagepipe.producer.reading.usage import Usage

GROUNDS: Final[Paths] = {"webSearchQueries": True, "groundingChunks": {"maps": {}}}
ANSWER: Final[Paths] = {
    **dict.fromkeys(("usageMetadata", "responseId", "modelVersion"), True),
    "candidates": {"finishReason": True, "groundingMetadata": GROUNDS},
    "promptFeedback": {"blockReason": True},
}

# Not names that Gemini uses.
SEARCHES: Final = "web searches"
MAPS: Final = "searches in maps"
BY_PROMPT: Final = ("gemini-1", "gemini-2")  # pay a search once a prompt, later models by the query
PLACE: Final = ("modality", "tokenCount")
BILLED: Final[Tree] = {
    "promptTokensDetails": by_modality("input_{}_tokens", *PLACE),
    "promptTokenDetails": by_modality("input_{}_tokens", *PLACE),  # embeddings
    "cacheTokensDetails": by_modality("cache_{}_read_tokens", *PLACE),
    "candidatesTokensDetails": by_modality("output_{}_tokens", *PLACE),
    "responseTokensDetails": by_modality("output_{}_tokens", *PLACE),  # the Live API
    "toolUsePromptTokenCount": "input_tool_tokens",
    "toolUsePromptTokensDetails": by_modality("input_{}_tool_tokens", *PLACE),
    SEARCHES: "web_searches",
    MAPS: "map_searches",
}
TOOLS: Final[Tree] = {"toolUsePromptTokensDetails": by_modality("input_{}_tokens", *PLACE)}


class Gemini(Shape):
    """An answer, an event, or an element of the array that a stream without `alt=sse` is."""

    places = frozenset(("usageMetadata", "response", "responseId"))
    places_of_id = frozenset(("response", "responseId"))
    paths: ClassVar[Paths] = {
        "name": True,
        "response": ANSWER,  # Code Assist wraps each answer
        **ANSWER,
    }
    marks = ("usageMetadata",)
    sides = ("promptTokenCount", "candidatesTokenCount")
    billed: ClassVar[Tree] = BILLED

    def usage(self, answer: Fields) -> Fields | None:
        usage = fields_at(answer, "usageMetadata")
        if usage is not None and "name" in answer and _is_cache(answer):
            return None
        if usage is None:
            answer = fields_at(answer, "response") or {}
            usage = fields_at(answer, "usageMetadata")
        return {**usage, **_searches(answer)} if usage else usage

    def units(self, usage: Fields) -> dict[str, int]:
        return units_with_tools(usage, BILLED, TOOLS)

    def tier(self, answer: Fields, usage: Fields) -> object:
        """Vertex reports its kinds of traffic: ON_DEMAND, ON_DEMAND_FLEX, ON_DEMAND_PRIORITY, …"""
        tier = usage.get("serviceTier") or usage.get("trafficType")
        return tier.lower().removeprefix("on_demand_") if isinstance(tier, str) else None

    def merged(self, seen: Fields, later: Fields) -> Fields:
        """The searches are in one event, which may not be the last one, or in several that grow."""
        most: dict[str, Any] = {
            name: max(seen.get(name, 0), later.get(name, 0))
            for name in (SEARCHES, MAPS)
            if name in seen or name in later
        }
        return {**later, **most}

    def part(self, answer: Fields) -> str | None:
        return id_at(fields_at(answer, "response") or answer, "responseId")

    def ends(self, answer: Fields) -> bool:
        """A candidate with a `finishReason`, or a prompt that was blocked."""
        answer = fields_at(answer, "response") or answer
        blocked = fields_at(answer, "promptFeedback")
        return (blocked is not None and blocked.get("blockReason") is not None) or any(
            candidate.get("finishReason") for candidate in items_of(answer, "candidates")
        )

    def normal(self, counts: Counts) -> Usage:
        prompt = counts.first("promptTokenCount") + counts.first("toolUsePromptTokenCount")
        # The Live API calls the candidates response.
        completion = counts.first("candidatesTokenCount", "responseTokenCount")
        thoughts = counts.first("thoughtsTokenCount")
        total = counts.first("totalTokenCount")
        # Some models on Vertex include thoughts in the candidates: then the total shows it.
        if not (thoughts and completion >= thoughts and total == prompt + completion):
            completion += thoughts
        total = total or prompt + completion
        cached = counts.first("cachedContentTokenCount")
        return Usage("", prompt, completion, total, cached, reasoning_tokens=thoughts)


def _searches(answer: Fields) -> dict[str, int]:
    """The searches of the web and of maps that the answer is grounded in, as they are billed."""
    queries, on_maps = 0, False
    for candidate in items_of(answer, "candidates"):
        if (ground := fields_at(candidate, "groundingMetadata")) is not None:
            found = ground.get("webSearchQueries")
            queries += len(found) if isinstance(found, list) else 0
            on_maps |= any("maps" in chunk for chunk in items_of(ground, "groundingChunks"))
    if not (queries or on_maps):
        return {}
    model = answer.get("modelVersion")
    if queries and isinstance(model, str) and model.rpartition("/")[2].startswith(BY_PROMPT):
        queries = 1
    return {name: n for name, n in ((SEARCHES, queries), (MAPS, int(on_maps))) if n}


def _is_cache(answer: Fields) -> bool:
    """Whether it describes a cache, with the cache's size. Then nothing was used."""
    name = answer.get("name")
    return isinstance(name, str) and "cachedContents/" in name

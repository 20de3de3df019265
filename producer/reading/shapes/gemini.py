"""Gemini, by Google's AI Studio or Vertex: `usageMetadata`, cumulative in each event of a stream.

Thoughts are counted separately from the candidates; they are output. What tools add to the prompt
is counted separately from the prompt; it is input.
"""

from typing import ClassVar, Final

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.shape import Fields, Paths, Shape, fields_at, id_at, items_of
from usagepipe.producer.reading.shapes.units import Tree, by_modality, units_with_tools
from usagepipe.producer.reading.usage import Usage

ANSWER: Final[Paths] = {
    **dict.fromkeys(("usageMetadata", "responseId", "modelVersion"), True),
    "candidates": {"finishReason": True, "groundingMetadata": {"webSearchQueries": True}},
    "promptFeedback": {"blockReason": True},
}

SEARCHES: Final = "web searches"  # not a name that Gemini uses
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
        searches = 0 if usage is None else _searches(answer)
        return {**(usage or {}), SEARCHES: searches} if searches else usage

    def units(self, usage: Fields) -> dict[str, int]:
        return units_with_tools(usage, BILLED, TOOLS)

    def tier(self, answer: Fields, usage: Fields) -> object:
        """Vertex reports its kinds of traffic: ON_DEMAND, ON_DEMAND_FLEX, ON_DEMAND_PRIORITY, …"""
        tier = usage.get("serviceTier") or usage.get("trafficType")
        return tier.lower().removeprefix("on_demand_") if isinstance(tier, str) else None

    def merged(self, seen: Fields, later: Fields) -> Fields:
        """The searches are in one event, which may not be the last one."""
        if SEARCHES in seen and SEARCHES not in later:
            return {**later, SEARCHES: seen[SEARCHES]}
        return later

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


def _searches(answer: Fields) -> int:
    """The searches of the web that the answer is grounded in, as they are billed."""
    searches = 0
    for candidate in items_of(answer, "candidates"):
        if "groundingMetadata" in candidate:
            queries = (fields_at(candidate, "groundingMetadata") or {}).get("webSearchQueries")
            searches += len(queries) if isinstance(queries, list) else 0
    if not searches:
        return 0
    model = answer.get("modelVersion")
    return 1 if isinstance(model, str) and model.startswith(BY_PROMPT) else searches


def _is_cache(answer: Fields) -> bool:
    """Whether it describes a cache, with the cache's size. Then nothing was used."""
    name = answer.get("name")
    return isinstance(name, str) and "cachedContents/" in name

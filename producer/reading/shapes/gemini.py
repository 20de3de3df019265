"""Gemini, by Google's AI Studio or Vertex: `usageMetadata`, cumulative in each event of a stream.

Thoughts are counted separately from the candidates; they are output. What tools add to the prompt
is counted separately from the prompt; it is input.
"""

from typing import ClassVar, Final

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.shape import Fields, Paths, Shape, fields_at, id_at, items_of
from usagepipe.producer.reading.usage import Usage

ANSWER: Final[Paths] = {
    **dict.fromkeys(("usageMetadata", "responseId"), True),
    "candidates": {"finishReason": True},
    "promptFeedback": {"blockReason": True},
}


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

    def usage(self, answer: Fields) -> Fields | None:
        usage = fields_at(answer, "usageMetadata")
        if usage is not None and "name" in answer and _is_cache(answer):
            return None
        return fields_at(answer, "response", "usageMetadata") if usage is None else usage

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


def _is_cache(answer: Fields) -> bool:
    """Whether it describes a cache, with the cache's size. Then nothing was used."""
    name = answer.get("name")
    return isinstance(name, str) and "cachedContents/" in name

"""Cohere, version 1 (`meta`) and 2 (`usage`): two sets of counts in one answer.

`tokens` is what the model read and wrote. `billed_units` excludes what Cohere adds to a prompt free
of charge. The normal form counts every token, and `cached_tokens` are part of `tokens` only, so
`tokens` is preferred. The difference is recorded as unbilled tokens, which cost nothing. Embeddings
have `billed_units` alone.
"""

from typing import ClassVar, Final

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.shape import Fields, Paths, Shape, fields_at
from usagepipe.producer.reading.shapes.units import Tree, units_in
from usagepipe.producer.reading.usage import Usage

COUNTED: Final[Paths] = dict.fromkeys(("tokens", "billed_units", "cached_tokens"), True)


class Cohere(Shape):
    """Chat and embeddings, as JSON and as events. The answers do not name the model."""

    places = frozenset(("usage", "meta", "delta", "response"))
    paths: ClassVar[Paths] = {
        **dict.fromkeys(("type", "event_type", "usage"), True),
        "meta": COUNTED,
        "delta": {"usage": True},
        "response": {"meta": COUNTED},
    }
    marks = ("usage", "billed_units")
    sides = ("input_tokens", "output_tokens")
    billed: ClassVar[Tree] = {
        "image_tokens": "input_image_tokens",
        "billed_units": {
            "search_units": "rerank_searches",
            "classifications": "classifications",
            "images": "input_images",
        },
    }

    def usage(self, answer: Fields) -> Fields | None:
        found = fields_at(answer, "usage") or fields_at(answer, "meta")
        if answer.get("type") == "message-end":
            found = fields_at(answer, "delta", "usage")
        elif answer.get("event_type") == "stream-end":
            found = fields_at(answer, "response", "meta")
        if found is None:
            return None
        billed = fields_at(found, "billed_units")
        counts = _counted(fields_at(found, "tokens")) or billed
        if counts is None:
            return None
        return {**counts, "cached_tokens": found.get("cached_tokens"), "billed_units": billed}

    def units(self, usage: Fields) -> dict[str, int]:
        """An image is billed by its tokens, if it has any."""
        units = units_in(usage, self.billed)
        if "input_image_tokens" in units:
            units.pop("input_images", None)
        if billed := fields_at(usage, "billed_units"):
            units |= _unbilled(usage, billed)
        return units

    def ends(self, answer: Fields) -> bool:
        """The last event is `message-end`; in version 1 `stream-end`."""
        return answer.get("type") == "message-end" or answer.get("event_type") == "stream-end"

    def normal(self, counts: Counts) -> Usage:
        prompt = counts.first("input_tokens") + counts.first("image_tokens")
        completion = counts.first("output_tokens")
        if not (prompt or completion):  # LiteLLM's ranks have no output, so a total is input
            prompt = counts.first("total_tokens")
        cached = counts.first("cached_tokens")
        return Usage("", prompt, completion, prompt + completion, cached)


def _unbilled(usage: Fields, billed: Fields) -> dict[str, int]:
    """The tokens that the model read and wrote, and Cohere does not bill."""
    ours, theirs = Counts(usage), Counts(billed)
    left = {
        f"{side}_unbilled_tokens": ours.first(f"{side}_tokens") - theirs.first(f"{side}_tokens")
        for side in ("input", "output")
        if billed.get(f"{side}_tokens") is not None
    }
    return {unit: count for unit, count in left.items() if count > 0 and theirs.sound}


def _counted(tokens: Fields | None) -> Fields | None:
    return tokens if tokens and any(count is not None for count in tokens.values()) else None

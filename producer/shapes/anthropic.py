"""Anthropic's Messages, also by way of Vertex and Bedrock: JSON answers and typed events.

Cache reads and writes come on top of `input_tokens`. The Responses API of OpenAI has the same
names and means that they are inside, so the `type` decides, not the names.
"""

from typing import Any, Final

from usagepipe.producer.shapes.counts import Counts
from usagepipe.producer.shapes.shape import Fields, Shape, fields_at, items_of
from usagepipe.producer.usage import Usage

CACHE_NAMES: Final = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"})
OTHERS_NAMES: Final = frozenset({"prompt_tokens", "total_tokens", "input_tokens_details"})
INPUT_NAMES: Final = CACHE_NAMES | {"input_tokens"}


class Anthropic(Shape):
    """A stream is a `message_start`, then `message_delta` events that overlay it."""

    def usage(self, answer: Fields) -> Fields | None:
        kind = answer.get("type")
        if kind == "message_start":
            return fields_at(answer, "message", "usage")
        usage = fields_at(answer, "usage")
        if usage is None or kind in ("message", "message_delta"):
            return usage
        # Gateways that forget the type. LiteLLM has the names too, beside OpenAI's own.
        theirs = CACHE_NAMES & usage.keys() and not OTHERS_NAMES & usage.keys()
        return usage if theirs else None

    def merged(self, seen: Fields, later: Fields) -> Fields:
        """Field by field, as the official clients do, where the later one is not null.

        Of the input the larger count is kept: it grows when a server tool runs, and some gateways
        send 0 in the delta.
        """
        merged = dict(seen)
        for name, value in later.items():
            if value is not None:
                merged[name] = _larger(seen.get(name), value) if name in INPUT_NAMES else value
        return merged

    def ends(self, answer: Fields) -> bool:
        """The last event is `message_stop`."""
        return answer.get("type") == "message_stop"

    def closes(self, answer: Fields) -> bool:
        """The delta that says why the message stopped has the final count of the output."""
        delta = fields_at(answer, "delta")
        return delta is not None and delta.get("stop_reason") is not None

    def normal(self, counts: Counts) -> Usage:
        # A compaction is a run of the same model of which the totals know nothing. An advisor's
        # run is left out: it is another model's, at another price, and an event has one model.
        runs = [counts.usage, *_compactions(counts.usage)]
        cached = _sum(counts, runs, "cache_read_input_tokens")
        written = _sum(counts, runs, "cache_creation_input_tokens")
        prompt = _sum(counts, runs, "input_tokens") + cached + written
        completion = _sum(counts, runs, "output_tokens")
        return Usage(
            model="",
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            cached_tokens=cached,
            cache_write_tokens=written,
            reasoning_tokens=counts.detail(
                ("output_tokens_details",), "thinking_tokens", "reasoning_tokens"
            ),
        )


def _compactions(usage: Fields) -> list[Fields]:
    return [run for run in items_of(usage, "iterations") if run.get("type") == "compaction"]


def _sum(counts: Counts, runs: list[Fields], name: str) -> int:
    return sum(counts.count(run[name]) for run in runs if run.get(name) is not None)


def _larger(seen: Any, later: Any) -> Any:
    return max(seen, later) if type(seen) is int and type(later) is int else later

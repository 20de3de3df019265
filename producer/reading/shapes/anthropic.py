"""Anthropic's Messages, also through Vertex and Bedrock: JSON answers and typed events.

`input_tokens` excludes cache reads and writes. OpenAI's Responses API uses the same names and
includes them, so the `type` decides, not the names.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.iterations import (
    OTHERS,
    runs_of_others,
    settled_by_iterations,
    settles,
)
from usagepipe.producer.reading.shapes.shape import Fields, Paths, Shape, fields_at, id_at, items_of
from usagepipe.producer.reading.shapes.units import CLAUDE_TOOLS, Tree, regional_runs, units_in
from usagepipe.producer.reading.usage import Usage, bounded, sum_of

CACHE_NAMES: Final = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"})
OTHERS_NAMES: Final = frozenset({"prompt_tokens", "total_tokens", "input_tokens_details"})
INPUT_NAMES: Final = CACHE_NAMES | {"input_tokens"}
CREATION: Final = "cache_creation"  # a breakdown of `cache_creation_input_tokens`
BILLED: Final[Tree] = {
    CREATION: {"ephemeral_1h_input_tokens": "cache_write_1h_tokens"},
    "server_tool_use": CLAUDE_TOOLS,
}


class Anthropic(Shape):
    """A stream has a `message_start`, then `message_delta` events that overlay it."""

    places = frozenset(("usage", "message"))
    places_of_id = frozenset(("message",))
    paths: ClassVar[Paths] = {
        **dict.fromkeys(("type", "usage"), True),
        "message": {"id": True, "usage": True},
        "delta": {"stop_reason": True},
    }
    marks = ("usage", "message_start", "message_stop")
    sides = ("input_tokens", "output_tokens")
    billed: ClassVar[Tree] = BILLED

    def usage(self, answer: Fields) -> Fields | None:
        usage = _usage_of(answer)
        return settled_by_iterations(usage) if usage and usage.get("iterations") else usage

    def merged(self, seen: Fields, later: Fields) -> Fields:
        """Counts are cumulative: a later one replaces an earlier one, unless it is null.

        The input counts of one event belong together: some servers put the whole prompt into the
        `input_tokens` of the start or of the delta, and split it in the other one. Only a zero is
        doubtful, because some gateways send meaningless zeros. It counts if `iterations` confirm
        it, or if the prompt stays the same: then the tokens have moved to another class.
        """
        known = {name: value for name, value in later.items() if value not in (None, [])}
        merged = seen | known
        if (prompt := _prompt(seen)) and _prompt(known) == prompt:
            split = seen if CACHE_NAMES.isdisjoint(known) else known
            return merged | {name: split.get(name, 0) for name in INPUT_NAMES}
        zeroed = {
            name: seen[name]
            for name in INPUT_NAMES
            if _count(seen, name) and not _count(merged, name) and not settles(later, name)
        }
        if "cache_creation_input_tokens" in zeroed and CREATION in seen:
            zeroed[CREATION] = seen[CREATION]
        return merged | zeroed if zeroed and _prompt(merged) != prompt else merged

    def units(self, usage: Fields) -> dict[str, int]:
        """With those of the compactions, which the totals do not include."""
        units = units_in(usage, self.billed)
        for run in items_of(usage, "iterations") if "iterations" in usage else ():
            units = dict(sum_of(units, units_in(run, self.billed)))
        return units | regional_runs(usage)

    def tier(self, answer: Fields, usage: Fields) -> object:
        """Claude's fast mode has prices of its own."""
        return "fast" if usage.get("speed") == "fast" else usage.get("service_tier")

    def part(self, answer: Fields) -> str | None:
        """Only the start of a message has its id."""
        if not self.begins(answer):
            return None
        return id_at(fields_at(answer, "message") or {}, "id") or ""

    def begins(self, answer: Fields) -> bool:
        return answer.get("type") == "message_start"

    def is_next(self, earlier: Usage, later: Usage, ended: bool) -> bool:
        """A start before the end of another message replaces it: gateways send their own start."""
        return ended

    def ends(self, answer: Fields) -> bool:
        """The last event is `message_stop`."""
        return answer.get("type") == "message_stop"

    def closes(self, answer: Fields) -> bool:
        """The delta with the stop reason has the final output count."""
        delta = fields_at(answer, "delta")
        return delta is not None and delta.get("stop_reason") is not None

    def normal(self, counts: Counts) -> Usage:
        count: Callable[[str], int] = counts.first
        if "iterations" in counts.usage:
            # Only compactions are left in there: the totals do not include them.
            count = partial(_sum, counts, [counts.usage, *items_of(counts.usage, "iterations")])
        usage = _normal(counts, count)
        if OTHERS not in counts.usage:
            return usage
        regional = regional_runs(counts.usage)
        others = runs_of_others(counts.usage)
        parts = bounded(tuple(_part(model, run, regional) for model, run in others))
        counts.found |= bool(parts)
        return usage._replace(parts=parts)


def _normal(counts: Counts, count: Callable[[str], int]) -> Usage:
    cached = count("cache_read_input_tokens")
    written = count("cache_creation_input_tokens")
    prompt = count("input_tokens") + cached + written
    completion = count("output_tokens")
    reasoning = counts.detail(("output_tokens_details",), "thinking_tokens", "reasoning_tokens")
    return Usage("", prompt, completion, prompt + completion, cached, written, reasoning)


def _part(model: str, run: Fields, regional: dict[str, int]) -> Usage:
    """The usage of another model's run, in the region of the message."""
    counts, units = Counts(run), units_in(run, BILLED) | regional
    usage = _normal(counts, counts.first)._replace(model=model, units=units)
    return usage if counts.sound else usage._replace(usage_quality="inconsistent")


def without_other_models(usage: Usage, fields: Fields) -> Usage:
    """`usage` with other models' runs as parts. LiteLLM converts Claude's usage to OpenAI's form
    (`fields`), adds all runs up, and keeps their list. If they do not add up, `usage` is unchanged.
    """
    kept = {name: fields.get(name) for name in ("iterations", "inference_geo")}
    counts = Counts(settled_by_iterations(kept))
    own = Anthropic().normal(counts)
    others = sum(part.total_tokens for part in own.parts)
    if not others or usage.total_tokens not in (own.total_tokens, own.total_tokens + others):
        return usage
    units = Counter(usage.units)
    for part in own.parts:
        units.subtract(part.units)
    return own._replace(
        units={unit: n for unit, n in units.items() if n > 0} | regional_runs(fields),
        reasoning_tokens=min(usage.reasoning_tokens, own.completion_tokens),
        usage_quality="complete" if counts.sound else "inconsistent",
    )


def _usage_of(answer: Fields) -> Fields | None:
    kind = answer.get("type")
    if kind == "message_start":
        return fields_at(answer, "message", "usage")
    usage = fields_at(answer, "usage")
    if usage is None or kind in ("message", "message_delta"):
        return usage
    # Gateways that omit the type. LiteLLM has these names too, beside OpenAI's own.
    theirs = not CACHE_NAMES.isdisjoint(usage) and OTHERS_NAMES.isdisjoint(usage)
    return usage if theirs else None


def _sum(counts: Counts, runs: list[Fields], name: str) -> int:
    return sum(counts.count(run[name]) for run in runs if run.get(name) is not None)


def _count(usage: Fields, name: str) -> int:
    value: Any = usage.get(name)
    return value if type(value) is int else Counts(usage).first(name)


def _prompt(usage: Fields) -> int:
    return sum(_count(usage, name) for name in INPUT_NAMES)

"""From a provider's answer to tokens in the normal form: the one place that knows payload shapes.

Only known paths are read, never text: a `usage` inside an answer's content does not count.
Whether cached tokens are a part of the input or come on top of it differs by provider, and is
told by the shape, not by the names of the counts (Anthropic and OpenAI's Responses share them).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from usagepipe.schemas.event import MAX_TOKENS, UsageQuality


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of one answer in the normal form (see `UsageEvent`)."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    usage_quality: UsageQuality = "complete"
    cost: Decimal | None = None  # US dollars, as the provider reports them


def usage_of(answer: object) -> Usage | None:
    """The usage that a decoded JSON answer carries; None when it carries none. Never raises."""
    if not isinstance(answer, Mapping):
        return None
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return None
    counts = Counts(usage)
    model = answer.get("model")
    name = model if isinstance(model, str) else ""
    if answer.get("type") == "message" or "cache_read_input_tokens" in usage:
        found = _independent(counts, name)
    else:
        found = _subset(counts, name)
    return _judged(found, counts) if counts.found else None


class Counts:
    """The counts of a usage object, by name. Remembers if any were there, and any bad."""

    def __init__(self, usage: Mapping[object, object]) -> None:
        self._usage = usage
        self.found = False
        self.sound = True

    def first(self, *names: str) -> int:
        """The count under the first of `names` that is there; 0 if none is or it is no count."""
        value = next((self._usage[n] for n in names if self._usage.get(n) is not None), None)
        return self._count(value)

    def detail(self, parents: tuple[str, ...], name: str) -> int:
        """The count `name` inside the first of `parents` that is an object having it."""
        for parent in parents:
            details = self._usage.get(parent)
            if isinstance(details, Mapping) and details.get(name) is not None:
                return self._count(details[name])
        return 0

    def _count(self, value: object) -> int:
        if value is None:
            return 0
        self.found = True
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # some gateways write 31.0
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
            self.sound = False
            return 0
        return value


def _subset(counts: Counts, model: str) -> Usage:
    """OpenAI and all who are like it: cached is a part of input, reasoning a part of output."""
    prompt = counts.first("prompt_tokens", "input_tokens")
    completion = counts.first("completion_tokens", "output_tokens")
    given_total = counts.first("total_tokens")
    outputs = ("completion_tokens_details", "output_tokens_details")
    reasoning = counts.detail(outputs, "reasoning_tokens")
    if reasoning and given_total == prompt + completion + reasoning:
        completion += reasoning  # xAI counts reasoning outside of the output, in the total only
    return Usage(
        model=model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=given_total or prompt + completion,
        cached_tokens=counts.detail(
            ("prompt_tokens_details", "input_tokens_details"), "cached_tokens"
        ),
        reasoning_tokens=reasoning,
    )


def _independent(counts: Counts, model: str) -> Usage:
    """Anthropic: cache reads and writes come on top of `input_tokens`."""
    cached = counts.first("cache_read_input_tokens")
    written = counts.first("cache_creation_input_tokens")
    prompt = counts.first("input_tokens") + cached + written
    completion = counts.first("output_tokens")
    return Usage(
        model=model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=counts.detail(("output_tokens_details",), "thinking_tokens"),
    )


def _judged(usage: Usage, counts: Counts) -> Usage:
    """`usage` with the quality it deserves. Numbers that contradict each other are kept."""
    sound = (
        counts.sound
        and usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens
        and usage.reasoning_tokens <= usage.completion_tokens
        and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    )
    if not sound:
        return replace(usage, usage_quality="inconsistent")
    if usage.total_tokens == 0:
        return replace(usage, usage_quality="missing")
    return usage

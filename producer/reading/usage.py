"""The usage of one answer in the normal form, which is the same for all providers."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final, NamedTuple

from usagepipe.schemas.event import MAX_PART, MAX_TOKENS, UsageQuality

COUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


NO_UNITS: Final[Mapping[str, int]] = MappingProxyType({})
OTHER_MODELS: Final = "(other)"  # the name of the last part, if there are too many


class Usage(NamedTuple):
    """The usage of one answer in the normal form (see `UsageEvent`)."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    usage_quality: UsageQuality = "complete"
    cost: Decimal | None = None  # US dollars, as the provider reports them; None: unknown
    parts: tuple["Usage", ...] = ()  # calls of other models: their tokens are not in the counts
    units: Mapping[str, int] = NO_UNITS
    service_tier: str = ""

    @property
    def adds_up(self) -> bool:
        """Whether the counts are consistent: no part exceeds its whole."""
        return (
            self.cached_tokens + self.cache_write_tokens <= self.prompt_tokens
            and self.reasoning_tokens <= self.completion_tokens
            and self.total_tokens == self.prompt_tokens + self.completion_tokens
        )

    @property
    def counts(self) -> tuple[int, ...]:
        """All of `COUNTS`."""
        return self[1:7]

    def of_model(self, model: str, service_tier: str = "") -> "Usage":
        """The same with the names of the model and the tier: faster than `_replace`, and done for
        each answer."""
        return Usage(model, *self[1:-1], service_tier)

    def plus(self, other: "Usage") -> "Usage":
        """The sum of both, for one model. If one cost is unknown, so is that of the sum."""
        unsound = "inconsistent" in (self.usage_quality, other.usage_quality)
        return self._replace(
            **{name: getattr(self, name) + getattr(other, name) for name in COUNTS},
            usage_quality="inconsistent" if unsound else "complete",
            cost=None if self.cost is None or other.cost is None else self.cost + other.cost,
            parts=bounded(self.parts + other.parts),
            units=sum_of(self.units, other.units),
        )


def sum_of(ours: Mapping[str, int], theirs: Mapping[str, int]) -> Mapping[str, int]:
    """The counts of both, added up by unit."""
    if not (ours and theirs):
        return ours or theirs
    added = {unit: min(ours.get(unit, 0) + count, MAX_TOKENS) for unit, count in theirs.items()}
    return {**ours, **added}


def bounded(parts: tuple[Usage, ...]) -> tuple[Usage, ...]:
    """At most `MAX_PART` parts. A further one is added to the last part of its model; if there is
    none, to the last of all, which then counts for `OTHER_MODELS`. So no token is lost."""
    kept = list(parts[:MAX_PART])
    places = {part.model: place for place, part in enumerate(kept)} if parts[MAX_PART:] else {}
    for part in parts[MAX_PART:]:
        place = places.get(part.model, MAX_PART - 1)
        model = part.model if kept[place].model == part.model else OTHER_MODELS
        kept[place] = kept[place].plus(part).of_model(model)
    return tuple(kept)

"""The usage of one answer in the normal form: what all the shapes of providers are brought to."""

from dataclasses import dataclass
from decimal import Decimal

from usagepipe.schemas.event import UsageQuality


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
    cost: Decimal | None = None  # US dollars as the provider reports them; None: it does not

"""The counts of rows in the form of an event, for a `Pricer`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Counts:
    """What decides a price, named like the fields of an event."""

    provider: str
    model: str
    customer_id: str
    occurred_at: datetime | str
    service_tier: str = ""
    batch: bool = False
    part: int = 0
    failed: bool = False
    usage_quality: str = "complete"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    units: Mapping[str, int] = field(default_factory=dict)

"""What a price is computed from, and the reasons why an event has none."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

# The counts of the normal form, as units of the price book. Their order is that of `counts_of`.
NORMAL_UNITS: Final = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "output_reasoning_tokens",
    "requests",
)


class Unpriced(StrEnum):
    """Why an event has no price. `sentence` explains it to a reader."""

    sentence: str

    def __new__(cls, word: str, sentence: str) -> "Unpriced":
        member = str.__new__(cls, word)
        member._value_ = word
        member.sentence = sentence
        return member

    # Not an unpriced request: it has no cost, and none is missing.
    NOTHING_TO_PRICE = "nothing_to_price", "The request failed and used nothing."
    NO_ENTRY = "no_entry", "The price book has no entry for this provider and model."
    UNKNOWN_UNIT = "unknown_unit", "The event counts a unit that the price book does not know."
    NO_RATE = "no_rate", "The entry has no rate for a unit that the event counts."
    USAGE_MISSING = "usage_missing", "The answer did not say what the request used."
    UNCLASSIFIED_TOKENS = (
        "unclassified_tokens",
        "The total has tokens that are neither prompt nor completion.",
    )
    INCONSISTENT = "inconsistent", "The counts contradict each other: a part exceeds its whole."
    TOO_LARGE = "too_large", "The amount exceeds what one request can cost."


class PricedUsage(Protocol):
    """The fields of an event that decide its price: those of `UsageEvent`, or of a worker's row.

    `occurred_at` is a datetime, or ISO text in UTC: 2026-01-02T03:04:05.678Z.
    """

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def service_tier(self) -> str: ...
    @property
    def batch(self) -> bool: ...
    @property
    def customer_id(self) -> str: ...
    @property
    def occurred_at(self) -> datetime | str: ...
    @property
    def part(self) -> int: ...
    @property
    def failed(self) -> bool: ...
    @property
    def usage_quality(self) -> str: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def total_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...
    @property
    def units(self) -> Mapping[str, int]: ...


def counts_of(usage: PricedUsage) -> tuple[int, ...]:
    """The counts of `NORMAL_UNITS`. A request counts once: in part 0, and unless it failed."""
    return (
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        0 if usage.part or usage.failed else 1,
    )


def used_nothing(usage: PricedUsage) -> bool:
    """Whether the event counts no token and no other unit."""
    return not (usage.total_tokens or any(counts_of(usage)[:5]) or any(usage.units.values()))

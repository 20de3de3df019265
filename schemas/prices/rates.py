"""The rates of an entry at one moment, for one context and size of prompt."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from usagepipe.schemas.prices.document import Discount, Entry, Period, TieredRate, Variant

# Tokens that the provider counts and does not bill. They are free unless an entry has a rate.
FREE_UNITS: Final = ("input_unbilled_tokens", "output_unbilled_tokens")


@dataclass(frozen=True, slots=True)
class AppliedRate:
    """The list price of a unit, and the rule that it comes from."""

    unit: str
    rate: Decimal  # US dollars for `per` units
    per: int
    rule: Period  # a period, or the variant that replaces its rate
    above: int | None = None  # the prompt tokens of the tier; None: the base rate

    @property
    def for_one(self) -> Fraction:
        """US dollars for one unit."""
        return Fraction(self.rate) / self.per


def utc_text(moment: datetime | str) -> str:
    """`moment` as ISO text in UTC, which sorts like time. A datetime without zone is in UTC."""
    if isinstance(moment, str):
        return moment
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()


def context_of(service_tier: str, batch: bool) -> dict[str, str]:
    """What `Variant.when` is compared with, in the words of genai-prices.

    Some providers report batches as a service tier, and events report Claude's fast mode as one.
    """
    context = {"service_tier": service_tier} if service_tier else {}
    if batch or service_tier == "batch":
        context["processing"] = "batch"
    if service_tier == "fast":
        context["speed"] = "fast"
    return context


def period_at(entry: Entry, at: str) -> Period:
    """The last active period; the first one if none is."""
    active = (period for period in reversed(entry.periods) if period.active(at))
    return next(active, entry.periods[0])


def variants_at(entry: Entry, at: str, context: Mapping[str, str]) -> Iterable[Variant]:
    """The active variants that the context has, in order of preference."""
    for variant in entry.variants:
        if variant.active(at) and variant.when.items() <= context.items():
            yield variant


def rates_at(
    entry: Entry, at: str, context: Mapping[str, str], prompt: int, per: Mapping[str, int]
) -> dict[str, AppliedRate]:
    """The rates by unit. The first variant that has a rate for a unit replaces the period's."""
    period = period_at(entry, at)
    rules = [*variants_at(entry, at, context), period]
    free = {
        unit: AppliedRate(unit, Decimal(0), per[unit], period) for unit in FREE_UNITS if unit in per
    }
    return free | {
        unit: _applied(unit, rule, prompt, per[unit])
        for rule in reversed(rules)
        for unit in rule.rates
    }


def _applied(unit: str, rule: Period, prompt: int, per: int) -> AppliedRate:
    rate = rule.rates[unit]
    if not isinstance(rate, TieredRate):
        return AppliedRate(unit, rate, per, rule)
    reached = [tier for tier in rate.tiers if prompt > tier.above]
    if not reached:
        return AppliedRate(unit, rate.base, per, rule)
    return AppliedRate(unit, reached[-1].rate, per, rule, reached[-1].above)


class Discounts:
    """The operator's discounts. The most specific one that has begun counts, and it alone."""

    def __init__(self, discounts: Iterable[Discount]) -> None:
        self._by_owner: dict[tuple[str, str], list[Discount]] = {}
        for each in discounts:
            self._by_owner.setdefault((each.provider, each.customer), []).append(each)
        self.customers = frozenset(customer for _, customer in self._by_owner if customer)

    def of(self, provider: str, customer: str) -> list[Discount]:
        """Those that may count, in order of preference."""
        owners = ((provider, customer), ("", customer), (provider, ""))
        found = [self._by_owner.get(owner, []) for owner in dict.fromkeys(owners)]
        return [
            each
            for group in found
            for each in sorted(group, key=lambda each: each.since or "", reverse=True)
        ]


def discount_at(discounts: Iterable[Discount], at: str) -> Discount | None:
    """The first one that has begun."""
    return next((each for each in discounts if each.since is None or at >= each.since), None)

"""Prices events with one book. Everything that prices a request goes through `Pricer`."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from usagepipe.schemas.prices.amounts import LIMIT, MONEY_UNITS, rounded
from usagepipe.schemas.prices.book import PriceBook
from usagepipe.schemas.prices.explanation import Explanation, PricedPart
from usagepipe.schemas.prices.lookup import FoundEntry, Lookup
from usagepipe.schemas.prices.plan import Plan
from usagepipe.schemas.prices.rates import Discounts, context_of
from usagepipe.schemas.prices.table import Part, RateTable, Shape
from usagepipe.schemas.prices.units import Units
from usagepipe.schemas.prices.usage import PricedUsage, Unpriced, counts_of, used_nothing

# Plans kept. The names of models are their callers' choice, so there is no end of them.
MAX_PLANS: Final = 20_000

_Used = tuple[RateTable, Shape, tuple[int, ...]]


class Pricer:
    """A compiled book. Safe to share between threads: what it keeps is made again at worst."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        self.version = book.version
        self._lookup = Lookup(book.document)
        self._units = Units(book.document.units)
        self._discounts = Discounts(book.document.discounts)
        self.customers = self._discounts.customers  # who have one
        self._plans: dict[tuple[str, str, str, bool, str], Plan | None] = {}
        self._shared: dict[tuple[object, ...], Plan] = {}  # by all that makes a difference

    def price(self, usage: PricedUsage) -> int | Unpriced:
        """The price in 10^-12 US dollars, or why there is none."""
        return self.prices((usage,))[0]

    def prices(self, usages: Iterable[PricedUsage]) -> list[int | Unpriced]:
        """The price of each: `type(price) is int` is the fastest way to tell it from a reason.

        The common event is priced here: tokens of the normal form alone, which add up. Everything
        else takes `_compute`, with the same numbers. A worker runs this for every event, so it is
        one long function: each further call would cost a tenth of it.
        """
        found: list[int | Unpriced] = []
        customers, plans = self.customers, self._plans
        for usage in usages:
            customer = usage.customer_id if customers and usage.customer_id in customers else ""
            key = (usage.provider, usage.model, usage.service_tier, usage.batch, customer)
            try:
                plan = plans[key]
            except KeyError:
                plan = self._plan_for(key)
            if plan is None:
                found.append(_compute(None, None, usage)[0])
                continue
            prompt, completion = usage.prompt_tokens, usage.completion_tokens
            table = plan.only or plan.table_at(usage.occurred_at, prompt)
            cached, written = usage.cached_tokens, usage.cache_write_tokens
            reasoning = usage.reasoning_tokens
            fresh, shown = prompt - cached - written, completion - reasoning
            if (
                fresh < 0
                or shown < 0
                or usage.units
                or usage.failed
                or usage.total_tokens > prompt + completion
                or usage.usage_quality == "missing"
                or (table.lacks_rates and (completion or table.lacks_input))
            ):
                found.append(_compute(plan, table, usage)[0])
                continue
            amount = fresh * table.input + shown * table.output
            if cached:
                amount += cached * table.cache_read
            if written:
                amount += written * table.cache_write
            if reasoning:
                amount += reasoning * table.reasoning
            if table.request and not usage.part:
                amount += table.request
            if table.denominator != 1:
                amount = rounded(amount, table.denominator)
            found.append(amount if amount < LIMIT else Unpriced.TOO_LARGE)
        return found

    def explain(self, usage: PricedUsage) -> Explanation:
        """How the price comes about. Its total is that of `price`."""
        customer = usage.customer_id if usage.customer_id in self.customers else ""
        key = (usage.provider, usage.model, usage.service_tier, usage.batch, customer)
        plan = self._plan_for(key)
        table = plan.table_at(usage.occurred_at, usage.prompt_tokens) if plan else None
        total, used = _compute(plan, table, usage)
        reason = total if isinstance(total, Unpriced) else None
        if plan is None:
            return Explanation(self.version, reason)
        found = plan.found
        discount = plan.discount_at(usage.occurred_at)
        parts = _priced_parts(used) if used and reason is None else ()
        culprits = used[1].culprits(used[2]) if used and reason else ()
        return Explanation(
            version=self.version,
            reason=reason,
            culprits=culprits,
            provider=found.provider,
            owner=found.owner,
            entry=found.entry.id,
            own=found.entry.own,
            alias=found.alias.id if found.alias else "",
            context=context_of(usage.service_tier, usage.batch) if found.has_variants else {},
            discount=discount,
            parts=parts,
            exact=None if reason else sum((part.amount for part in parts), Fraction(0)),
            total=None if isinstance(total, Unpriced) else total,
        )

    def price_sums(self, usage: PricedUsage, requests: int) -> int | Unpriced:
        """The price of counts summed over requests: the tier is that of their average prompt."""
        customer = usage.customer_id if usage.customer_id in self.customers else ""
        plan = self._plan_for((usage.provider, usage.model, "", False, customer))
        prompt = usage.prompt_tokens // max(requests, 1)
        table = plan.table_at(usage.occurred_at, prompt) if plan else None
        return _compute(plan, table, usage)[0]

    def find(self, provider: str, model: str) -> FoundEntry | None:
        """The entry that prices this model, or None."""
        return self._lookup.find(provider, model)

    def _plan_for(self, key: tuple[str, str, str, bool, str]) -> Plan | None:
        plans = self._plans
        if key in plans:
            return plans[key]
        if len(plans) >= MAX_PLANS:  # a new one: other threads may be reading the old one
            self._plans, self._shared = {}, {}
        plan = self._plans[key] = self._make_plan(*key)
        return plan

    def _make_plan(
        self, provider: str, model: str, tier: str, batch: bool, customer: str
    ) -> Plan | None:
        found = self.find(provider, model)
        if found is None:
            return None
        context = found.asked(context_of(tier, batch))
        entries = (id(found.entry), id(found.alias))  # they live as long as the book
        shared = (found.provider, found.owner, *entries, *context.items(), customer)
        plan = self._shared.get(shared)
        if plan is None:
            discounts = self._discounts.of(found.provider, customer)
            plan = self._shared[shared] = Plan(found, context, discounts, self._units)
        return plan


def _compute(
    plan: Plan | None, table: RateTable | None, usage: PricedUsage
) -> tuple[int | Unpriced, _Used | None]:
    """The price of any event, and what it was computed with."""
    if usage.failed and used_nothing(usage):
        return Unpriced.NOTHING_TO_PRICE, None
    if plan is None or table is None:
        return Unpriced.NO_ENTRY, None
    if table.needs_usage:
        if usage.usage_quality == "missing":
            return Unpriced.USAGE_MISSING, None
        if usage.total_tokens > usage.prompt_tokens + usage.completion_tokens:
            return Unpriced.UNCLASSIFIED_TOKENS, None
    units = usage.units
    if (minimums := plan.found.entry.minimums) or 0 in units.values():
        units = {name: max(n, minimums.get(name, 0)) for name, n in units.items() if n}
    if len(units) > 1:  # one shape, whatever their order
        units = dict(sorted(units.items()))
    shape, counts = table.shape(tuple(units)), (*counts_of(usage), *units.values())
    price = shape.numerator(counts)
    if type(price) is int:  # faster than isinstance of an enumeration
        price = rounded(price, table.denominator) if table.denominator != 1 else price
        price = price if price < LIMIT else Unpriced.TOO_LARGE
    return price, (table, shape, counts)


def _priced_parts(used: _Used) -> tuple[PricedPart, ...]:
    table, shape, counts = used
    parts = ((part, part.count(counts)) for part in shape.shown(counts))
    return tuple(_priced(part, count, table.denominator) for part, count in parts if count)


def _priced(part: Part, count: int, denominator: int) -> PricedPart:
    rate = part.rate
    amount = Fraction(part.numerator * count, denominator * MONEY_UNITS)
    return PricedPart(
        part.unit, count, rate.rate, rate.per, rate.unit, rate.above, rate.rule, amount
    )

"""Estimates what recent usage would cost by another price book.

The rollups have sums of tokens by day and model. They know neither service tiers nor the sizes of
single prompts, and no units but tokens. So an estimate has the rates of ordinary requests, and says
where they may not be those of every request.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from usagepipe.query.answers import GroupUsage
from usagepipe.query.counts import Counts
from usagepipe.query.periods import TimeRange
from usagepipe.query.questions import MAX_ROWS, GroupQuestion, ask_grouping, usage_parameters
from usagepipe.query.statements import statement
from usagepipe.query.store import IDS_AT_ONCE, Store
from usagepipe.schemas.prices import Pricer
from usagepipe.schemas.prices.amounts import MONEY_UNITS
from usagepipe.schemas.prices.document import Entry, TieredRate
from usagepipe.schemas.prices.usage import NORMAL_UNITS, Unpriced

_BY_MODEL: Final = GroupQuestion(("provider", "model"), None, "UTC", "cost")
Model = tuple[str, str]  # provider and name, as recorded


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the usage of a model would cost. None: the book has no price for it."""

    cost: Decimal | None
    exact: bool  # the rates are those of every request


@dataclass(frozen=True, slots=True)
class Affected:
    """A model whose price differs between two books, with its usage of a period."""

    usage: GroupUsage
    estimate: Estimate


def affected_models(store: Store, span: TimeRange, old: Pricer, new: Pricer) -> list[Affected]:
    """The models that were used in `span` and have other prices in `new`, the costliest first."""
    used = ask_grouping(store, _BY_MODEL, span, MAX_ROWS, {}).rows
    rows = [each for each in used if _terms(old, _key(each)) != _terms(new, _key(each))]
    if not rows:
        return []
    days = _days(store, span, new)
    return [Affected(each, _estimate(new, each, days.get(_key(each), ()))) for each in rows]


def _key(usage: GroupUsage) -> Model:
    return usage.provider or "", usage.model or ""


def _terms(pricer: Pricer, model: Model) -> object:
    """Everything that decides the prices of a model; None if it has none."""
    found = pricer.find(*model)
    if found is None:
        return None
    entry = found.entry
    discounts = [
        each for each in pricer.book.document.discounts if each.provider in ("", found.provider)
    ]
    variants = entry.variants if found.has_variants else ()
    return entry.periods, variants, entry.minimums, discounts


def _days(store: Store, span: TimeRange, pricer: Pricer) -> Mapping[Model, list[dict[str, Any]]]:
    customers = sorted(pricer.customers)
    asked = customers if len(customers) <= IDS_AT_ONCE else []
    rows = store.rows(statement("daily_usage"), {**usage_parameters(span, {}), "customers": asked})
    found: dict[Model, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["provider"], row["model"]), []).append(row)
    return found


def _estimate(pricer: Pricer, usage: GroupUsage, days: Sequence[Mapping[str, Any]]) -> Estimate:
    amounts = [amount for day in days for amount in _amounts(pricer, day)]
    found = pricer.find(*_key(usage))
    if found is None or any(isinstance(amount, Unpriced) for amount in amounts):
        return Estimate(None, exact=False)
    certain = (
        usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        and not usage.incomplete_requests
        and len(pricer.customers) <= IDS_AT_ONCE
    )
    return Estimate(
        sum(map(Decimal, amounts), Decimal(0)) / MONEY_UNITS,
        exact=certain and _is_plain(found.entry),
    )


def _amounts(pricer: Pricer, day: Mapping[str, Any]) -> Iterator[int | Unpriced]:
    """The price of a day's tokens, and the fees of its requests."""
    counts = {name: day[name] for name in _TOKENS}
    total = day["prompt_tokens"] + day["completion_tokens"]
    who = {name: day[name] for name in ("provider", "model", "customer_id")}
    at = f"{day['day']}T12:00:00Z"
    tokens = Counts(**who, occurred_at=at, total_tokens=total, part=1, **counts)
    yield pricer.price_sums(tokens, day["requests"])
    fee = pricer.price(Counts(**who, occurred_at=at))
    yield fee if isinstance(fee, Unpriced) else fee * (day["requests"] - day["failures"])


def _is_plain(entry: Entry) -> bool:
    """Whether a price depends on nothing but tokens, days and requests."""
    rates = {name: rate for each in entry.periods for name, rate in each.rates.items()}
    return not (
        entry.variants
        or entry.minimums
        or rates.keys() - NORMAL_UNITS
        or any(each.daily for each in entry.periods)
        or any(
            isinstance(rate, TieredRate) for each in entry.periods for rate in each.rates.values()
        )
    )


_TOKENS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)

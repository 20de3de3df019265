"""The contents of a price book in words: rates, rules and names, as tables and messages show them.

Rates have the names of price files, such as input_mtok.
"""

from collections.abc import Mapping
from decimal import Decimal

from usagepipe.schemas.prices.document import (
    Clause,
    Discount,
    Document,
    Entry,
    Period,
    Provider,
    TieredRate,
    Unit,
    Variant,
)

EVERY_PROVIDER = "(every provider)"
_WORDS = {"equals": "{}", "starts_with": "{}*", "ends_with": "*{}", "contains": "*{}*"}


def rate_text(rate: Decimal | TieredRate) -> str:
    """US dollars, with the rates of larger prompts: `3; 6 above 200,000`."""
    if not isinstance(rate, TieredRate):
        return f"{rate:f}"
    return "; ".join([f"{rate.base:f}", *(f"{t.rate:f} above {t.above:,}" for t in rate.tiers)])


def rule_text(rule: Period) -> str:
    """When and for which requests the rates count. Empty: always, and for all."""
    words = []
    if isinstance(rule, Variant):
        words += [_context_text(name, value) for name, value in sorted(rule.when.items())]
    if rule.since:
        words.append(f"from {rule.since}")
    if rule.daily:
        words.append(f"{rule.daily[0]} to {rule.daily[1]} UTC")
    return ", ".join(words)


def _context_text(name: str, value: str) -> str:
    return "batch" if (name, value) == ("processing", "batch") else f"{name} {value}"


def clause_text(clause: Clause | None) -> str:
    """The names that meet a condition: `gpt-5, gpt-5-2025-*`."""
    if clause is None:
        return ""
    if clause.any_of is not None:
        return ", ".join(map(clause_text, clause.any_of))
    if clause.all_of is not None:
        return " and ".join(map(clause_text, clause.all_of))
    ((field, text),) = clause.model_dump(exclude_none=True).items()
    return _WORDS.get(field, "/{}/").format(text)


def facts_of_entry(entry: Entry, units: Mapping[str, Unit]) -> dict[str, str]:
    """Everything that decides the prices of an entry, each fact under a name of its own."""
    facts = {"names": clause_text(entry.match)}
    if entry.same_as:
        facts["same_as"] = f"{entry.same_as.provider}/{entry.same_as.model}".lstrip("/")
    for rule in (*entry.periods, *entry.variants):
        for unit, rate in rule.rates.items():
            name = ", ".join(filter(None, (units[unit].rate_name, rule_text(rule))))
            facts[name] = rate_text(rate)
    return facts | {f"minimum of {unit}": str(least) for unit, least in entry.minimums.items()}


def facts_of_provider(provider: Provider) -> dict[str, str]:
    """What decides which provider an event belongs to, and whose models it sells."""
    facts = {
        "names": clause_text(provider.match),
        "names of models": clause_text(provider.model_match),
        "sells the models of": ", ".join(provider.fallbacks),
        "same_as": provider.same_as,
    }
    return {name: text for name, text in facts.items() if text}


def facts_of_discounts(document: Document) -> dict[str, str]:
    """Each discount, under whom it is for and from when."""
    return {discount_text(each): f"{each.negotiated:f}" for each in document.discounts}


def discount_text(discount: Discount) -> str:
    """Whom a discount is for: `customer acme, provider openai, from 2026-03-01`."""
    named = {"customer": discount.customer, "provider": discount.provider}
    words = [f"{name} {text}" for name, text in named.items() if text]
    return ", ".join([*words, f"from {discount.since}"] if discount.since else words)

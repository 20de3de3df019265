"""Every price can be explained, and the explanation adds up to the last digit."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests.support.price_checks import compare_explanations
from tests.support.price_usage import book, entry, used
from usagepipe.schemas.prices import PricedPart, Pricer, Unpriced, builtin_book, read_yaml
from usagepipe.schemas.prices.document import Discount

EVENTS = 20_000  # the benchmark takes 100,000
RATES = {"input_tokens": "5", "output_tokens": "15"}


def test_explain_equals_price_for_random_events_of_all_models() -> None:
    """Every model several times, also with counts that make no sense."""
    priced, wrong = compare_explanations(Pricer(builtin_book()), EVENTS, seed=100_000)

    assert [] == wrong[:3]
    assert EVENTS / 2 < priced < EVENTS


def shown(parts: tuple[PricedPart, ...]) -> list[tuple[Any, ...]]:
    return [(part.unit, part.count, str(part.rate), part.rate_unit) for part in parts]


def test_each_part_shows_its_rate_and_fallback() -> None:
    """Cached tokens without a rate are a part of their own, at the rate of input tokens."""
    pricer = Pricer(book(entry(rates=RATES)))
    explained = pricer.explain(used(1000, 500, cached_tokens=400, reasoning_tokens=500))

    assert [
        ("input_tokens", 600, "5", "input_tokens"),
        ("cache_read_tokens", 400, "5", "input_tokens"),
        ("output_reasoning_tokens", 500, "15", "output_tokens"),
    ] == shown(explained.parts)
    assert [False, True, True] == [part.is_fallback for part in explained.parts]
    assert Fraction("0.0125") == explained.exact
    assert 12_500_000_000 == explained.total


def test_counts_of_no_account_are_not_shown() -> None:
    """More cached tokens than prompt tokens have no rate of their own: the prompt is priced."""
    pricer = Pricer(book(entry(rates=RATES)))

    explained = pricer.explain(used(1000, cached_tokens=1001))

    assert [("input_tokens", 1000, "5", "input_tokens")] == shown(explained.parts)


def test_an_explanation_names_its_rules() -> None:
    """Entry, date, tier, variant and discount."""
    tiered = {"base": "3", "tiers": [{"above": 100, "rate": "6"}]}
    discount = Discount(customer="acme", negotiated=Decimal("0.5"))
    one = entry(
        periods=(
            {"rates": RATES},
            {"since": "2026-05-01", "rates": {"input_tokens": tiered, "output_tokens": "1"}},
        ),
        variants=({"when": {"service_tier": "flex"}, "rates": {"output_tokens": "2"}},),
    )
    pricer = Pricer(book(one, discounts=(discount,)))

    found = pricer.explain(used(101, 10, customer_id="acme", service_tier="flex"))
    prompt, completion = found.parts

    assert (pricer.version, "acme", "acme", "m-1") == (
        found.version,
        found.provider,
        found.owner,
        found.entry,
    )
    assert (discount, {"service_tier": "flex"}) == (found.discount, found.context)
    assert (Decimal(6), 100, "2026-05-01", {}) == (
        prompt.rate,
        prompt.above,
        prompt.rule.since,
        prompt.variant,
    )
    assert (Decimal(2), None, {"service_tier": "flex"}) == (
        completion.rate,
        completion.above,
        completion.variant,
    )
    assert Fraction(101 * 6, 2_000_000) == prompt.amount  # half price
    assert pricer.price(used(101, 10, customer_id="acme", service_tier="flex")) == found.total


def test_an_own_price_and_an_alias_are_named() -> None:
    """The operator sees that the price is from the file, and under which name."""
    text = "models: [{model: a, same_as: b}, {model: b, prices: {input_mtok: 1}}]"
    found = Pricer(read_yaml(text, builtin_book())).explain(used(1, model="a"))

    assert (True, "b", "a", "") == (found.own, found.entry, found.alias, found.owner)


@pytest.mark.parametrize(
    ("reason", "culprits", "usage"),
    [
        (Unpriced.NO_ENTRY, (), used(1, model="m-2")),
        (Unpriced.UNKNOWN_UNIT, ("hats",), used(1, units={"web_searches": 1, "hats": 2})),
        (Unpriced.NO_RATE, ("web_searches",), used(1, units={"web_searches": 1})),
        (Unpriced.INCONSISTENT, ("output_tokens",), used(1, units={"output_tokens": 1})),
        (Unpriced.USAGE_MISSING, (), used(usage_quality="missing")),
        (Unpriced.UNCLASSIFIED_TOKENS, (), used(1, 1, total_tokens=3)),
        (Unpriced.NOTHING_TO_PRICE, (), used(failed=True, usage_quality="missing")),
    ],
)
def test_an_unpriced_event_has_its_reason(
    reason: Unpriced, culprits: tuple[str, ...], usage: Any
) -> None:
    """And the units that are the reason."""
    pricer = Pricer(book(entry(rates=RATES)))
    found = pricer.explain(usage)

    assert (reason, culprits, (), None) == (
        found.reason,
        found.culprits,
        found.parts,
        found.total,
    )
    assert reason == pricer.price(usage)
    assert reason.sentence.endswith(".")

"""What an event costs, and why an event has no price."""

from collections.abc import Mapping
from decimal import Decimal

import pytest

from tests.support.price_usage import Usage, book, entry, used
from usagepipe.schemas.prices import Pricer, Unpriced, cost_text

BASE = {"input_tokens": "5", "output_tokens": "15"}
TIERED = {
    "input_tokens": {"base": "3", "tiers": [{"above": 200_000, "rate": "6"}]},
    "output_tokens": {"base": "15", "tiers": [{"above": 200_000, "rate": "30"}]},
}
HIGHER = {
    "input_tokens": {"base": "3", "tiers": [{"above": 272_000, "rate": "9"}]},
    "output_tokens": {"base": "15", "tiers": [{"above": 272_000, "rate": "45"}]},
}
CACHED = {
    "input_tokens": "3",
    "cache_read_tokens": "0.3",
    "cache_write_tokens": "3.75",
    "output_tokens": "15",
}


def cost(rates: Mapping[str, object], usage: Usage) -> Decimal | Unpriced:
    """The cost in dollars; the explanation of it must have the same."""
    pricer = Pricer(book(entry(rates=rates)))
    price = pricer.price(usage)
    explained = pricer.explain(usage)
    if isinstance(price, Unpriced):
        assert (price, None) == (explained.reason, explained.total)
        return price
    assert (None, price) == (explained.reason, explained.total)
    return Decimal(cost_text(price))


def test_tokens_cost_their_rate() -> None:
    """T-52: 1000 prompt and 500 completion tokens at 5e-6 and 1.5e-5."""
    assert Decimal("0.0125") == cost(BASE, used(1000, 500))


def test_each_class_of_tokens_has_its_rate() -> None:
    """T-53: cache reads and writes are parts of the prompt, and no token is paid twice."""
    usage = used(2000, 500, cached_tokens=1500, cache_write_tokens=200)

    assert Decimal("0.0096") == cost(CACHED, usage)


@pytest.mark.parametrize(
    ("rates", "prompt", "expected"),
    [
        (TIERED, 180_000, "0.99"),  # T-54: 210k tokens in total are no reason
        (TIERED, 200_000, "1.05"),
        (TIERED, 200_001, "2.100006"),  # the whole request has the tier's rate
        (HIGHER, 250_000, "1.2"),  # T-55: 280k tokens in total are no reason
        (HIGHER, 272_001, "3.798009"),
    ],
)
def test_prompt_tokens_choose_the_tier(
    rates: Mapping[str, object], prompt: int, expected: str
) -> None:
    """T-54, T-55: the tier is that of the prompt, and not of the total."""
    assert Decimal(expected) == cost(rates, used(prompt, 30_000))


def test_cached_tokens_fall_back_to_the_input_rate() -> None:
    """T-56: without a rate of their own, tokens read from a cache are input tokens."""
    assert Decimal("0.0125") == cost(BASE, used(1000, 500, cached_tokens=400))


def test_a_model_without_a_price_has_no_cost() -> None:
    """T-57: its cost is not known, and not 0."""
    assert Unpriced.NO_ENTRY == cost(BASE, used(1000, 500, model="another"))

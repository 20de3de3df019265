"""What sums of usage would cost by another book."""

from decimal import Decimal
from typing import Any

import pytest

from tests.support.price_usage import book, entry
from usagepipe.query.periods import EVER
from usagepipe.query.repricing import Estimate, affected_models
from usagepipe.schemas.prices import PriceBook, Pricer
from usagepipe.schemas.prices.document import Discount

OLD = book(entry(rates={"input_tokens": "1", "output_tokens": "2"}))


class Rows:
    """A store whose only model is m-1 of acme, used on one day by two customers."""

    def __init__(self, **measures: int) -> None:
        names = ("requests", "failures", "prompt_tokens", "completion_tokens", "total_tokens")
        more = ("cached_tokens", "cache_write_tokens", "reasoning_tokens", "unpriced_requests")
        self.sums: dict[str, Any] = dict.fromkeys((*names, *more), 0) | {"cost": None} | measures

    def rows(self, sql: str, parameters: Any, settings: Any = None) -> list[dict[str, Any]]:
        model = {"provider": "acme", "model": "m-1", **self.sums}
        if "customers" not in parameters:
            return [model | {"last_used": 0}]
        return [model | {"day": "2026-06-01", "customer_id": (parameters["customers"] or [""])[0]}]


def estimate(new: PriceBook, **measures: int) -> Estimate:
    given = {"total_tokens": measures["prompt_tokens"] + measures.get("completion_tokens", 0)}
    (found,) = affected_models(
        Rows(**given | measures),  # type: ignore[arg-type]  # it answers the two queries
        EVER,
        Pricer(OLD),
        Pricer(new),
    )
    return found.estimate


def test_a_model_with_equal_prices_is_not_affected() -> None:
    """Another book may change other models."""
    new = book(entry(rates={"input_tokens": "1", "output_tokens": "2"}), entry("m-2", {}))

    assert [] == affected_models(Rows(requests=1), EVER, Pricer(OLD), Pricer(new))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rates", "cost", "exact"),
    [
        ({"input_tokens": "3", "output_tokens": "2"}, "16", True),
        ({"input_tokens": "3", "output_tokens": "2", "cache_read_tokens": "1"}, "12", True),
        ({"input_tokens": "0", "output_tokens": "0", "requests": "500"}, "2", True),
        ({"input_tokens": "3", "output_tokens": "2", "web_searches": "1"}, "16", False),
        (
            {"input_tokens": {"base": "3", "tiers": [{"above": 900_000, "rate": "6"}]},
             "output_tokens": "2"},
            "16",
            False,
        ),
        (
            {"input_tokens": {"base": "3", "tiers": [{"above": 700_000, "rate": "6"}]},
             "output_tokens": "2"},
            "28",
            False,
        ),
    ],
)  # fmt: skip
def test_the_estimate_is_exact_where_tokens_decide(
    rates: dict[str, Any], cost: str, exact: bool
) -> None:
    """Fees count for requests that did not fail; a tier is that of the average prompt."""
    found = estimate(
        book(entry(rates=rates)),
        requests=5,
        failures=1,
        prompt_tokens=4_000_000,
        cached_tokens=2_000_000,
        completion_tokens=2_000_000,
    )

    assert Estimate(Decimal(cost), exact) == found


def test_a_discount_of_a_customer_is_in_the_estimate() -> None:
    """Half the list price."""
    discount = Discount(customer="ann", negotiated=Decimal("0.5"))
    same = entry(rates={"input_tokens": "1", "output_tokens": "2"})

    found = estimate(book(same, discounts=(discount,)), requests=1, prompt_tokens=1_000_000)

    assert Estimate(Decimal("0.5"), exact=True) == found


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (book(entry("m-2", {"input_tokens": "1"})), Estimate(None, exact=False)),
        (book(entry(rates={"output_tokens": "1"})), Estimate(None, exact=False)),
    ],
)
def test_what_has_no_price_in_the_new_book_has_no_estimate(
    new: PriceBook, expected: Estimate
) -> None:
    """The table says so: its events will be unpriced."""
    assert expected == estimate(new, requests=1, prompt_tokens=5)


@pytest.mark.parametrize(
    "measures", [{"total_tokens": 9}, {"missing_requests": 1}, {"inconsistent_requests": 1}]
)
def test_uncertain_usage_makes_an_estimate_uncertain(measures: dict[str, int]) -> None:
    """Tokens of no class, and requests without usage, are not in the sums."""
    new = book(entry(rates={"input_tokens": "3", "output_tokens": "2"}))

    assert not estimate(new, requests=1, prompt_tokens=5, **measures).exact

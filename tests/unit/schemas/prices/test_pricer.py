"""What an event costs, and why an event has no price."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from tests.support.price_usage import NOON, Usage, book, entry, used
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.event import MAX_TOKENS
from usagepipe.schemas.prices import Pricer, Unpriced, builtin_book, cost_text, plan
from usagepipe.schemas.prices.table import RateTable

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


def test_unbilled_tokens_are_free_unless_an_entry_has_a_rate() -> None:
    """They are parts of the prompt and of the output, also of those read from a cache."""
    units = {"input_unbilled_tokens": 300, "output_unbilled_tokens": 100}
    rated = BASE | {"input_unbilled_tokens": "1"}

    assert Decimal("0.0095") == cost(BASE, used(1000, 500, units=units))
    assert Decimal("0.0095") == cost(BASE, used(1000, 500, cached_tokens=900, units=units))
    assert Decimal("0.0098") == cost(rated, used(1000, 500, units=units))
    assert Unpriced.INCONSISTENT == cost(BASE, used(200, 500, units=units))


@pytest.mark.parametrize("rate", ["0", "0.000000000001"])
def test_a_rate_of_almost_nothing_is_a_price(rate: str) -> None:
    """A free model costs 0, and 10^-12 dollars for a million tokens round to 0: both are priced."""
    assert 0 == cost({"input_tokens": rate, "output_tokens": rate}, used(1000, 500))


def test_a_price_is_rounded_once_and_half_to_even() -> None:
    """Two halves of the smallest step are one step, and not two."""
    rates = {"input_tokens": "0.0000005", "output_tokens": "0.0000005"}  # half a step a token

    assert Decimal("1E-12") == cost(rates, used(1, 1))
    assert 0 == cost(rates, used(1))
    assert Decimal("2E-12") == cost(rates, used(3))
    assert Decimal("2E-12") == cost(rates, used(5))


def test_a_third_of_a_cent_is_exact_until_the_end() -> None:
    """Seconds are billed by the hour: 3600 of them cost what an hour does, to the last digit."""
    rates = {"audio_seconds": "0.1", "input_tokens": "7", "output_tokens": "1"}

    assert Decimal("0.1") == cost(rates, used(units={"audio_seconds": 3600}))
    assert Decimal("0.000027777778") == cost(rates, used(units={"audio_seconds": 1}))
    assert Decimal("0.100007000000") == cost(rates, used(1, units={"audio_seconds": 3600}))


def test_every_count_may_be_as_large_as_the_event_allows() -> None:
    """The amount is exact far beyond 2^64, and what no request costs is no price."""
    assert Decimal("8500000.00000") == cost(
        {"input_tokens": "5", "output_tokens": "3.5"}, used(MAX_TOKENS, MAX_TOKENS)
    )
    assert Unpriced.TOO_LARGE == cost(
        {"input_tokens": "999999", "output_tokens": "0"}, used(MAX_TOKENS)
    )
    rates = {"input_tokens": "999.999999999999", "output_tokens": "0", "web_searches": "1"}
    searches = used(MAX_TOKENS, units={"web_searches": 1000})  # one dollar, which is too much
    assert Decimal("999999999.999999") == cost(rates, used(MAX_TOKENS))
    assert Unpriced.TOO_LARGE == cost(rates, searches)


FEE = {"input_tokens": "5", "output_tokens": "15", "requests": "2"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, "0.0145"), ({"part": 1}, "0.0125"), ({"failed": True}, "0.0125")],
)
def test_a_request_is_paid_once(fields: dict[str, Any], expected: str) -> None:
    """Not for its further parts, and not if it failed; its tokens are paid in any case."""
    assert Decimal(expected) == cost(FEE, used(1000, 500, **fields))


def test_a_failure_without_usage_has_nothing_to_price() -> None:
    """It does not count as unpriced, whether its model has a price or not."""
    for model in ("m-1", "m-2"):
        usage = used(failed=True, usage_quality="missing", model=model)

        assert Unpriced.NOTHING_TO_PRICE == cost(FEE, usage)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (BASE, Unpriced.USAGE_MISSING),
        (FEE, Unpriced.USAGE_MISSING),
        ({"requests": "2"}, Unpriced.USAGE_MISSING),  # what tokens cost is not known
        ({"input_tokens": "0"}, Unpriced.USAGE_MISSING),  # what output costs is not known
        ({"input_tokens": "0", "output_tokens": "0"}, Decimal(0)),
        ({"input_tokens": "0", "output_tokens": "0", "requests": "2"}, Decimal("0.002")),
    ],
)
def test_missing_usage_has_no_price_unless_tokens_are_free(
    rates: Mapping[str, object], expected: object
) -> None:
    """A model that is paid by the request needs no usage."""
    assert expected == cost(rates, used(usage_quality="missing"))


def test_tokens_of_no_class_have_no_price() -> None:
    """More tokens in total than of the prompt and the completion: of which kind?"""
    assert Unpriced.UNCLASSIFIED_TOKENS == cost(BASE, used(10, 5, total_tokens=16))
    assert Decimal("0.000125") == cost(BASE, used(10, 5, total_tokens=14))


@pytest.mark.parametrize(
    ("rates", "usage", "expected"),
    [
        ({"input_tokens": "5"}, used(1000), Decimal("0.005")),  # embeddings
        ({"input_tokens": "5"}, used(1000, 1), Unpriced.NO_RATE),
        ({"output_tokens": "5"}, used(1), Unpriced.NO_RATE),
        ({"output_tokens": "5"}, used(1, cached_tokens=1), Unpriced.NO_RATE),
        ({"cache_read_tokens": "5"}, used(1, cached_tokens=1), Unpriced.NO_RATE),
        ({}, used(), Decimal(0)),
        (BASE, used(1, units={"web_searches": 0}), Decimal("0.000005")),
        (BASE, used(1, units={"web_searches": 1}), Unpriced.NO_RATE),
        (BASE, used(1, units={"hats": 0}), Decimal("0.000005")),
        (BASE, used(1, units={"hats": 1}), Unpriced.UNKNOWN_UNIT),
        (BASE, used(9, units={"requests": 1}), Unpriced.INCONSISTENT),
        (BASE, used(9, units={"input_audio_tokens": 4}), Decimal("0.000045")),
        (CACHED, used(9, cached_tokens=8, cache_write_tokens=2), Unpriced.INCONSISTENT),
        (CACHED, used(9, units={"cache_write_1h_tokens": 4}), Decimal("0.000027")),
    ],
)
def test_each_count_needs_a_rate(
    rates: Mapping[str, object], usage: Usage, expected: object
) -> None:
    """Its own, or that of what it is a part of. A count of 0 needs none."""
    assert expected == cost(rates, usage)


AUDIO = {
    "input_tokens": "1",
    "input_audio_tokens": "100",
    "cache_read_tokens": "0.5",
    "cache_audio_read_tokens": "50",
    "output_tokens": "1",
}


@pytest.mark.parametrize(
    ("units", "millionths"),
    [
        ({}, 60 + 20),  # 60 fresh, 40 from the cache
        ({"input_audio_tokens": 30}, 30 * 100 + 30 + 20),  # none of it from the cache
        ({"input_audio_tokens": 30, "cache_audio_read_tokens": 10}, 2000 + 500 + 40 + 15),
        ({"cache_audio_read_tokens": 10}, 500 + 60 + 15),  # its whole is not counted
        ({"cache_audio_read_tokens": 10, "input_audio_tokens": 30}, 2000 + 500 + 40 + 15),
        ({"input_audio_tokens": 10, "cache_audio_read_tokens": 30}, None),
        ({"input_audio_tokens": 61}, None),  # 61 and 40 of 100
        ({"input_audio_tokens": 62, "cache_audio_read_tokens": 2}, 6000 + 100 + 19),
    ],
)
def test_overlapping_units_are_priced_once(units: dict[str, int], millionths: int | None) -> None:
    """Audio that was read from a cache is neither audio alone nor cache alone."""
    expected = Unpriced.INCONSISTENT if millionths is None else Decimal(millionths) / 1_000_000

    assert expected == cost(AUDIO, used(100, cached_tokens=40, units=units))


DATED: dict[str, Any] = {
    "periods": (
        {"rates": {"input_tokens": "1"}},
        {"since": "2026-05-01", "rates": {"input_tokens": "2"}},
        {"daily": ("16:30:00", "00:30:00"), "rates": {"input_tokens": "3"}},
    )
}


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-04-30T12:00:00.000Z", 1),
        ("2026-04-30T16:29:59.999Z", 1),
        ("2026-04-30T16:30:00Z", 3),
        ("2026-04-30T23:59:59.999999Z", 3),
        ("2026-05-01T00:00:00.000Z", 3),
        ("2026-05-01T00:29:59.999Z", 3),
        ("2026-05-01T00:30:00.000Z", 2),
        ("2026-05-01T16:29:59.999Z", 2),
    ],
)
def test_the_rates_are_those_of_the_moment(at: str, expected: int) -> None:
    """As text in UTC, and as a datetime of any zone."""
    pricer = Pricer(book(entry(**DATED)))
    moment = datetime.fromisoformat(at)
    forms = (
        at,
        moment,
        moment.astimezone(timezone(timedelta(hours=-9))),
        moment.replace(tzinfo=None),
    )

    assert [expected * 10**6] * 4 == [pricer.price(used(1, occurred_at=form)) for form in forms]


def test_names_of_one_entry_share_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Producers choose names and tiers. A table for each would cost a worker its time."""
    made: list[object] = []

    class CountedTable(RateTable):
        def __init__(self, *arguments: Any) -> None:
            made.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(plan, "RateTable", CountedTable)
    pricer = Pricer(builtin_book())
    names = [f"claude-opus-4-8-{number}" for number in range(50)]
    usages = [
        used(1_000, 10, provider="anthropic", model=name, service_tier=tier)
        for name in names
        for tier in ("", "standard", f"tier of {name}", "fast")
    ]

    found = pricer.prices(usages)

    assert [5_250_000_000] * 3 + [10_500_000_000] == found[:4]
    assert found[:4] * 50 == found
    assert 2 == len(made)


def test_an_event_can_be_priced() -> None:
    """The event itself has all fields that decide its price."""
    event = UsageEvent.new(
        user_id="u-1", provider="acme", model="m-1", prompt_tokens=1000, completion_tokens=500,
        total_tokens=1500, occurred_at=NOON,
    )  # fmt: skip

    assert 12_500_000_000 == Pricer(book(entry(rates=BASE))).price(event)


@pytest.mark.parametrize("amount", [0, 1, 10**11, 10**12 - 1, 10**12, 12_345_678_901_234, 10**20])
def test_the_text_of_a_cost_is_exact(amount: int) -> None:
    """With all its decimals."""
    text = cost_text(amount)

    assert Decimal(amount).scaleb(-12) == Decimal(text)
    assert 12 == len(text.partition(".")[2])

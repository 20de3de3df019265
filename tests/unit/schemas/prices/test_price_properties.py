"""Prices of arbitrary rates and counts, against a calculation with fractions."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.price_usage import Usage, book, entry
from usagepipe.schemas.event import MAX_TOKENS
from usagepipe.schemas.prices import Pricer
from usagepipe.schemas.prices.document import Discount

RATE = st.one_of(
    st.decimals(0, 999_999, places=18),
    st.decimals(0, 100, places=6),
    st.sampled_from([Decimal(0), Decimal("1E-18"), Decimal("0.000001")]),
)
COUNT = st.one_of(st.integers(0, 2_000_000), st.integers(0, MAX_TOKENS // 8))
NORMAL = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "output_reasoning_tokens",
)


@st.composite
def usages(draw: st.DrawFn) -> tuple[dict[str, int], Usage]:
    """Tokens by class, and the usage that counts them."""
    fresh, read, written, hour, shown, reasoning = (draw(COUNT) for _ in range(6))
    seconds = draw(st.integers(0, 100_000))
    classes = {
        "input_tokens": fresh,
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": hour,
        "output_tokens": shown,
        "output_reasoning_tokens": reasoning,
        "audio_seconds": seconds,
    }
    prompt, completion = fresh + read + written + hour, shown + reasoning
    units = {"cache_write_1h_tokens": hour, "audio_seconds": seconds}
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cached_tokens=read,
        cache_write_tokens=written + hour,
        reasoning_tokens=reasoning,
        units={name: count for name, count in units.items() if count},
    )
    return classes, usage


@settings(deadline=None, max_examples=200)
@given(
    st.fixed_dictionaries({name: RATE for name in (*NORMAL, "audio_seconds", "requests")}),
    usages(),
    st.decimals(Decimal("0.01"), 1, places=4),
)
def test_a_price_is_the_rounded_sum_of_its_parts(
    rates: dict[str, Decimal], counted: tuple[dict[str, int], Usage], negotiated: Decimal
) -> None:
    """Each class times its rate, exactly; one rounding to 10^-12 dollars."""
    classes, usage = counted
    discount = Discount(provider="acme", negotiated=negotiated)
    pricer = Pricer(book(entry(rates=rates), discounts=(discount,)))
    per = {"audio_seconds": 3600, "requests": 1000}
    applied = {**rates, "cache_write_1h_tokens": rates["cache_write_tokens"]}
    exact = sum(
        Fraction(applied[name]) * count / per.get(name, 1_000_000)
        for name, count in {**classes, "requests": 1}.items()
    ) * Fraction(negotiated)
    explained = pricer.explain(usage)

    if exact >= 10**9:
        assert "too_large" == pricer.price(usage) == explained.reason
    else:
        assert round(exact * 10**12) == pricer.price(usage) == explained.total
        assert exact == explained.exact


@settings(deadline=None, max_examples=200)
@given(usages(), st.permutations(["cache_write_1h_tokens", "audio_seconds"]))
def test_the_order_of_units_does_not_count(
    counted: tuple[dict[str, int], Usage], order: list[str]
) -> None:
    """Nor whether a unit that was not used is counted with 0."""
    _, usage = counted
    rates = {"input_tokens": "3", "output_tokens": "15", "audio_seconds": "1"}
    pricer = Pricer(book(entry(rates=rates)))
    again = replace(usage, units={name: usage.units.get(name, 0) for name in order})

    assert pricer.price(usage) == pricer.price(again)

"""Prices are those of genai-prices, for every model in its data.

It deviates on purpose where genai-prices prices at 0 what it does not know, or raises. Each
deviation has a test below.
"""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot

from tests.support.price_usage import Usage, used
from tests.support.random_usage import Model, RandomUsages, models_of, names_of
from usagepipe.schemas.prices import PriceBook, Pricer, Unpriced, builtin_book
from usagepipe.schemas.prices.builtin import _is_free
from usagepipe.schemas.prices.lookup import Lookup
from usagepipe.schemas.prices.rates import context_of
from usagepipe.schemas.prices.units import Units

USAGES_OF_A_MODEL = 6
EXACT = Context(prec=60)
# Names of providers as gateways and clients write them.
PROVIDERS = (
    "openai", "OpenAI ", "azure", "azure-openai", "google", "vertex_ai", "gemini", "bedrock",
    "aws", "amazon-bedrock", "anthropic", "together_ai", "xai", "huggingface-groq", "",
)  # fmt: skip


@pytest.fixture(scope="module")
def pricer() -> Pricer:
    return Pricer(builtin_book())


def money_units(dollars: Decimal) -> int:
    """`dollars` in 10^-12, rounded as prices are."""
    scaled = EXACT.multiply(dollars, Decimal(10**12))
    return int(scaled.to_integral_value(ROUND_HALF_EVEN, EXACT))


def calculated(usage: Usage, counts: dict[str, int]) -> int:
    """What genai-prices calculates for these counts, at the usage's moment and in its context."""
    assert isinstance(usage.occurred_at, datetime)
    found = genai_prices.calc_price(
        genai_prices.Usage(**counts),
        usage.model,
        provider_id=usage.provider or None,
        genai_request_timestamp=usage.occurred_at,
        price_context=context_of(usage.service_tier, usage.batch),
    )
    return money_units(found.total_price)


def reachable(model: Model, lookup: Lookup) -> str:
    """A name that leads to the entry: its id is not always one."""
    names = [model.entry.id, *names_of(model.entry.match)]
    found = {name: lookup.find(model.provider, name) for name in names}
    return next(name for name, each in found.items() if each and each.entry is model.entry)


def test_every_model_costs_what_genai_prices_calculates(pricer: Pricer) -> None:
    """All priced units of every model, at any time since 2022 and in several contexts."""
    document = pricer.book.document
    usages, lookup = RandomUsages(Units(document.units), seed=14), Lookup(document)
    differences: list[tuple[Any, ...]] = []
    compared = unpriced = 0
    for model in models_of(document):
        name = reachable(model, lookup)
        for _ in range(USAGES_OF_A_MODEL if model.priced else 0):
            counts = usages.counts(sorted(model.priced))
            usage = usages.usage(model, name, counts)
            price, expected = pricer.price(usage), calculated(usage, counts)
            if price is Unpriced.NO_RATE:  # it has one, but at another time
                unpriced += 1
            elif price != expected:
                differences.append((usage, expected, price))
            compared += 1

    assert [] == differences[:3]
    assert compared > 10_000
    assert unpriced < compared / 500


def test_every_name_finds_the_same_entry(pricer: Pricer) -> None:
    """Names of every model, under its provider's name and under none."""
    lookup, snapshot = Lookup(pricer.book.document), get_snapshot()
    differences = []
    for model in models_of(pricer.book.document):
        for name in (model.entry.id, *names_of(model.entry.match)):
            for provider in (model.provider, None):
                try:
                    expected = snapshot.find_provider_model(name.upper(), None, provider, None)
                except LookupError:
                    expected = None
                found = lookup.find(provider or "", name.upper())
                if (found and found.entry.id) != (expected and expected[1].id):
                    differences.append((provider, name, expected, found))

    assert [] == differences[:3]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_name_of_a_provider_finds_the_same_entry(provider: str) -> None:
    """Also the models of others that it sells."""
    models = (
        "gpt-5", "gpt-5-20251211", "gpt-4o-2024-08-06", "claude-sonnet-4-5", "gemini-2.5-pro",
        "models/gemini-2.5-flash", "anthropic.claude-sonnet-4-5-20250929-v1:0", "deepseek-chat",
        "grok-4", "llama-3.3-70b-versatile", "gpt-4-20230230", "o3", "none-such", "",
    )  # fmt: skip
    lookup, snapshot = Lookup(builtin_book().document), get_snapshot()
    for model in models:
        try:
            where = snapshot.find_provider_model(model, None, provider or None, None)
            expected: tuple[str, str] | None = where[0].id, where[1].id
        except LookupError:
            expected = None
        found = lookup.find(provider, model)

        assert expected == (found and (found.provider, found.entry.id)), model


def test_a_model_without_rates_is_not_free() -> None:
    """Deviation: genai-prices calculates 0. Only what the data call free is free here."""
    pricer = Pricer(builtin_book())
    usage = used(1000, 500, provider="cerebras", model="qwen-3-coder-480b")

    assert 0 == calculated(usage, {"input_tokens": 1000, "output_tokens": 500})
    assert Unpriced.NO_RATE == pricer.price(usage)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openrouter", "deepseek/deepseek-r1:free"),
        ("openai", "omni-moderation-latest"),
        ("github-copilot", "gpt-4o"),
    ],
)
def test_a_free_model_costs_nothing(pricer: Pricer, provider: str, model: str) -> None:
    """Its cost is known: 0."""
    assert 0 == pricer.price(used(1000, 500, provider=provider, model=model))


def test_the_word_free_alone_makes_no_model_free() -> None:
    """A comment on a free tier is not a price."""
    (cerebras,) = (each for each in get_snapshot().providers if each.id == "cerebras")
    (model,) = (each for each in cerebras.models if each.id == "qwen-3-coder-480b")

    assert not _is_free(replace(model, price_comments="Not in the free tier"))
    assert not _is_free(replace(model, description="Trained on royalty-free images"))
    assert _is_free(replace(model, price_comments="Free of charge since May"))


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-opus-5"])
def test_the_fast_mode_of_claude_costs_its_own_rates(pricer: Pricer, model: str) -> None:
    """Events report it as a service tier; genai-prices calls it a speed."""
    standard, fast = (
        pricer.price(used(10**6, 10**6, provider="anthropic", model=model, service_tier=tier))
        for tier in ("standard", "fast")
    )

    assert (30 * 10**12, 60 * 10**12) == (standard, fast)


def test_what_a_provider_does_not_bill_is_free(pricer: Pricer) -> None:
    """Genai-prices reads what Cohere bills. Here all tokens are counted, and some are unbilled."""
    usage = used(2935, 4, provider="cohere", model="command-r7b-12-2024", cached_tokens=2928)
    unbilled = {"input_unbilled_tokens": 529, "output_unbilled_tokens": 2}

    expected = calculated(usage, {"input_tokens": 2406, "output_tokens": 2})
    assert expected == pricer.price(replace(usage, units=unbilled))


@pytest.mark.parametrize("unit", ["regional_runs", "map_searches"])
def test_a_surcharge_that_the_list_lacks_leaves_no_price(pricer: Pricer, unit: str) -> None:
    """The tokens alone would be too cheap."""
    usage = used(1000, 500, provider="anthropic", model="claude-opus-5", units={unit: 1})

    assert Unpriced.UNKNOWN_UNIT == pricer.price(usage)


def test_a_unit_without_a_rate_is_not_free(pricer: Pricer) -> None:
    """Deviation: genai-prices calculates 0 for searches of a model without a rate for them."""
    usage = used(1000, 500, provider="openai", model="gpt-4", units={"web_searches": 2})
    counts = {"input_tokens": 1000, "output_tokens": 500, "web_searches": 2}

    assert 60_000_000_000 == calculated(usage, counts)
    assert Unpriced.NO_RATE == pricer.price(usage)


@pytest.mark.parametrize("units", [{"video_minutes": 2}, {"video_minutes": 2, "web_searches": 1}])
def test_an_unknown_unit_is_not_free(pricer: Pricer, units: dict[str, int]) -> None:
    """Deviation: genai-prices warns and leaves it out."""
    usage = used(1000, 500, provider="openai", model="gpt-5", units=units)

    assert Unpriced.UNKNOWN_UNIT == pricer.price(usage)


def test_a_missing_joint_count_is_zero(pricer: Pricer) -> None:
    """Deviation: genai-prices raises if audio that was read from the cache has no count."""
    usage = used(
        1000,
        provider="openai",
        model="gpt-realtime",
        cached_tokens=300,
        units={"input_audio_tokens": 200},
    )
    tokens = {"input_tokens": 1000, "cache_read_tokens": 300, "input_audio_tokens": 200}

    with pytest.raises(ValueError, match="require explicit cache_audio_read_tokens"):
        calculated(usage, tokens)
    assert calculated(usage, {**tokens, "cache_audio_read_tokens": 0}) == pricer.price(usage)


def test_counts_that_contradict_each_other_have_no_price(pricer: Pricer) -> None:
    """Deviation: genai-prices raises."""
    usage = used(1000, provider="openai", model="gpt-5", cached_tokens=1001)

    with pytest.raises(ValueError, match="cannot exceed"):
        calculated(usage, {"input_tokens": 1000, "cache_read_tokens": 1001})
    assert Unpriced.INCONSISTENT == pricer.price(usage)


def test_a_part_alone_has_the_rate_of_its_whole(pricer: Pricer) -> None:
    """Deviation: genai-prices raises if seconds of input are not counted as seconds too."""
    usage = used(provider="openai", model="gpt-live-1", units={"input_audio_seconds": 3600})

    with pytest.raises(ValueError, match="require explicit audio_seconds"):
        calculated(usage, {"input_audio_seconds": 3600})
    assert calculated(usage, {"audio_seconds": 3600}) == pricer.price(usage)


def test_a_request_fee_is_paid_once(pricer: Pricer) -> None:
    """Deviation: the fee is that of the request: not of its further parts, nor of a failure."""
    usage: dict[str, Any] = {"provider": "perplexity", "model": "sonar-pro"}
    fee = 14_000_000_000

    with_fee = calculated(used(1000, **usage), {"input_tokens": 1000})
    assert with_fee == pricer.price(used(1000, **usage))
    assert with_fee - fee == pricer.price(used(1000, **usage, part=1))
    assert with_fee - fee == pricer.price(used(1000, **usage, failed=True))


def test_a_batch_may_be_reported_as_a_service_tier(pricer: Pricer) -> None:
    """Deviation: the tier `batch`, as Anthropic reports it, has the rates of batches."""
    usage: dict[str, Any] = {
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "occurred_at": datetime(2026, 11, 30, tzinfo=UTC),
    }
    counts = {"input_tokens": 1000, "output_tokens": 0}

    assert 3_000_000_000 == pricer.price(used(1000, **usage))
    assert 1_500_000_000 == pricer.price(used(1000, **usage, service_tier="batch"))
    assert 1_500_000_000 == calculated(used(1000, **usage, batch=True), counts)


def test_audio_of_groq_is_billed_for_ten_seconds(pricer: Pricer) -> None:
    """No deviation: genai-prices has this minimum in its code, and the book has it as data."""
    for seconds in (3, 10, 77):
        usage = used(
            provider="groq", model="whisper-large-v3", units={"input_audio_seconds": seconds}
        )
        counts = {"audio_seconds": seconds, "input_audio_seconds": seconds}

        assert calculated(usage, counts) == pricer.price(usage)


def test_the_book_needs_no_genai_prices(pricer: Pricer) -> None:
    """What was stored is read to the same book, with the same version."""
    book = builtin_book()

    assert book.document == PriceBook.from_json(book.to_json(), book.version).document

"""What a price file means. Its example is the one of docs/prices.md."""

import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import yaml

from tests.support.installs import ROOT
from tests.support.price_usage import used
from usagepipe.schemas.prices import PriceBook, Pricer, Unpriced, builtin_book, cost_text, read_yaml
from usagepipe.schemas.prices.yaml_file import FILE_FIELDS
from usagepipe.schemas.prices.yaml_models import DISCOUNT_FIELDS, MODEL_FIELDS

DOCS = ROOT / "docs" / "prices.md"
EXAMPLE = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)[0]
EARLY, LATE = datetime(2026, 6, 30, 12, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
NIGHT = datetime(2026, 6, 30, 16, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def example() -> Pricer:
    return Pricer(read_yaml(EXAMPLE, builtin_book()))


def price(text: str, *counts: int, **fields: Any) -> Any:
    """The cost of a request with the book of a file."""
    prompt, completion = counts or (1000, 500)
    return dollars(Pricer(read_yaml(text, builtin_book())), prompt, completion, **fields)


def dollars(pricer: Pricer, prompt: int, completion: int, **fields: Any) -> Decimal | Unpriced:
    found = pricer.price(used(prompt, completion, **fields))
    return found if isinstance(found, Unpriced) else Decimal(cost_text(found))


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        ("0.0006", {"model": "llama-3.3-70b", "provider": "My-Cluster"}),
        ("0.00051", {"model": "LLAMA-3.3-70b", "provider": "my-cluster", "cached_tokens": 500}),
        ("0.002", {"model": "rerank-local", "provider": ""}),
        ("0.002", {"model": "my-ocr-large", "provider": "anyone", "usage_quality": "missing"}),
        ("0", {"model": "phi-4-local", "provider": "anyone"}),
        ("0.00625", {"model": "gpt-5", "provider": "openai", "occurred_at": EARLY}),
        ("0.0056", {"model": "gpt-5", "provider": "openai", "occurred_at": LATE}),
        ("0.0056", {"model": "gpt-5-2025-08-07", "provider": "openai", "occurred_at": LATE}),
        ("0.003", {"model": "gpt-5", "provider": "openai", "service_tier": "flex"}),
        ("0.0028", {"model": "gpt-5", "provider": "openai", "batch": True}),
        ("0.0105", {"model": "deep-1", "provider": "my-cluster", "occurred_at": EARLY}),
        ("0.00525", {"model": "deep-1", "provider": "my-cluster", "occurred_at": NIGHT}),
        ("0.0056", {"model": "chat-production", "provider": "azure", "occurred_at": LATE}),
        ("0.0056", {"model": "chat-production", "provider": "Azure-EU", "occurred_at": LATE}),
        ("0.00966", {"model": "claude-sonnet-4-5", "provider": "anthropic"}),
        ("0.0084", {"model": "claude-sonnet-4-5", "provider": "anthropic", "customer_id": "acme"}),
        ("0.0053125", {"model": "gpt-5", "provider": "openai", "customer_id": "acme"}),
        ("0.00625", {"model": "gpt-5", "provider": "openai", "customer_id": "Acme"}),
    ],
)
def test_the_example_of_the_page(example: Pricer, expected: str, fields: dict[str, Any]) -> None:
    """Every entry of the complete example has the price that its comments say."""
    assert Decimal(expected) == dollars(example, 1000, 500, **fields)


def test_a_tier_of_the_example(example: Pricer) -> None:
    """More prompt tokens than its start, and the whole request has its rate."""
    fields = {"model": "deep-1", "provider": "my-cluster", "occurred_at": EARLY}

    assert Decimal("0.6") == dollars(example, 200_000, 0, **fields)
    assert Decimal("1.200006") == dollars(example, 200_001, 0, **fields)


def test_the_page_names_every_field_and_reason() -> None:
    """And the sentences are those of the code."""
    text = DOCS.read_text()
    table = text.partition("<!-- reasons: -->")[2].partition("<!-- end of reasons -->")[0]
    reasons = {each.value: each.sentence for each in Unpriced}
    del reasons[Unpriced.NOTHING_TO_PRICE]

    assert reasons == dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    assert [] == [
        name for name in (*FILE_FIELDS, *MODEL_FIELDS, *DISCOUNT_FIELDS) if f"`{name}`" not in text
    ]


def test_the_order_of_a_file_does_not_count() -> None:
    """Nor do comments, the case of names and the form of numbers: the version is the same."""
    one = """
models:
  - {model: a, prices: [{input_mtok: 1}, {from: 2026-01-01, input_mtok: 2}]}
  - {model: [B, c*], provider: p, prices: {input_mtok: 0.10, output_mtok: 1e-6}}
discounts: [{provider: openai, negotiated: 0.9}, {customer: x, negotiated: 0.80}]
"""
    other = """
discounts: [{customer: x, negotiated: 0.8}, {negotiated: 0.900, provider: openai}]
models: # any comment
  - {prices: {output_mtok: 0.000001, input_mtok: "0.1"}, model: c*, provider: P}
  - {prices: [{input_mtok: 2.0, from: 2026-01-01}, {input_mtok: 1.0}], model: A}
  - {model: b, provider: p, prices: {input_mtok: 1e-1, output_mtok: 1E-6}}
base: built-in
"""
    first, second = (read_yaml(text, builtin_book()) for text in (one, other))

    assert first.version == second.version


def test_a_file_without_prices_is_its_base() -> None:
    """It has the version of the base, too."""
    assert builtin_book().version == read_yaml("base: built-in", builtin_book()).version


def test_base_none_leaves_the_public_prices_out() -> None:
    """Only the file's models have a price."""
    text = "base: none\nmodels:\n  - {model: mine, prices: {input_mtok: 1, output_mtok: 2}}\n"

    assert Decimal("0.002") == price(text, model="mine", provider="openai")
    assert Unpriced.NO_ENTRY == price(text, model="gpt-5", provider="openai")
    assert Unpriced.NO_ENTRY == price("base: none", model="gpt-5", provider="openai")


def test_the_loader_without_the_c_library_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML has it in its wheels, but not everywhere."""
    fast = read_yaml(EXAMPLE, builtin_book())
    monkeypatch.delattr(yaml, "CSafeLoader")

    assert fast.version == read_yaml(EXAMPLE, builtin_book()).version


def test_values_are_read_as_they_are_written() -> None:
    """No number, truth or date of YAML: 3.10 is a name, and so is on."""
    text = "models: [{model: [3.10, on, 2026-01-01, 0x10], prices: {input_mtok: .5}}]"
    for model in ("3.10", "on", "2026-01-01", "0x10"):
        assert Decimal("0.0005") == price(text, 1000, 0, model=model)


def test_the_smallest_rates_are_exact() -> None:
    """10^-12 US dollars for one token, and for a million of them."""
    text = "models:\n  - {model: m, prices: {input_mtok: 1e-6, output_mtok: 1e-12}}\n"

    assert Decimal("1E-12") == price(text, 1, 0, model="m")
    assert Decimal("0.000001000001") == price(text, 1_000_000, 1_000_000, model="m")
    assert Decimal("0") == price(text, 0, 500_000, model="m")  # half a step, to even
    assert Decimal("2E-12") == price(text, 0, 1_500_000, model="m")
    assert Decimal("1E-12") == price(text, 0, 500_001, model="m")


def test_a_single_name_is_preferred_to_a_star() -> None:
    """And a model of the provider to one of every provider."""
    text = """
models:
  - {model: "*", prices: {input_mtok: 9, output_mtok: 0}}
  - {model: m-*, provider: p, prices: {input_mtok: 2, output_mtok: 0}}
  - {model: m-1, provider: p, prices: {input_mtok: 1, output_mtok: 0}}
"""
    assert Decimal("0.001") == price(text, model="m-1", provider="p")
    assert Decimal("0.002") == price(text, model="m-2", provider="p")
    assert Decimal("0.009") == price(text, model="m-1", provider="q")
    assert Decimal("0.009") == price(text, model="gpt-5", provider="openai")


def test_a_changed_model_keeps_its_place() -> None:
    """Names that lead to another entry still do: gpt-4o-audio-preview is no gpt-4o."""
    text = (
        "models:\n  - {model: gpt-4o, provider: openai, prices: {input_mtok: 9, output_mtok: 0}}\n"
    )
    other: dict[str, Any] = {"provider": "openai", "model": "gpt-4o-audio-preview"}

    assert Decimal("0.009") == price(text, model="gpt-4o", provider="openai")
    assert Decimal("0.009") == price(text, model="gpt-4o-2024-11-20", provider="openai")
    assert price("base: built-in", **other) == price(text, **other)


def test_another_name_of_a_provider_keeps_its_models() -> None:
    """A gateway's name for Google, with a price of its own for one model."""
    text = """
models:
  - {model: mine, provider: vertex_ai, prices: {input_mtok: 1, output_mtok: 0}}
discounts:
  - {provider: vertex_ai, negotiated: 0.5}
"""
    google = price("base: built-in", model="gemini-2.5-pro", provider="google", batch=True)

    assert Decimal("0.0005") == price(text, model="mine", provider="vertex_ai")
    assert google == price(text, model="gemini-2.5-pro", provider="vertex_ai", batch=True)
    assert Unpriced.NO_ENTRY == price(text, model="mine", provider="google")


def test_another_name_of_a_provider_has_its_prices_and_discounts() -> None:
    """Also variants, and a model of its own."""
    text = """
providers: {fireworks_ai: fireworks, My-Gateway: mine}
models:
  - {model: m, provider: mine, prices: {input_mtok: 1}}
  - {model: n, provider: my-gateway, prices: {input_mtok: 2}}
discounts: [{provider: fireworks, negotiated: 0.5}]
"""
    model = "accounts/fireworks/models/kimi-k3"
    list_price = price("base: built-in", 1000, 0, model=model, provider="fireworks")

    assert list_price / 2 == price(text, 1000, 0, model=model, provider="fireworks_ai")
    assert Decimal("0.001") == price(text, 1000, 0, model="m", provider="my-gateway")
    assert Decimal("0.002") == price(text, 1000, 0, model="n", provider="MY-GATEWAY")
    assert Unpriced.NO_ENTRY == price(text, 1000, 0, model="n", provider="mine")


@pytest.mark.parametrize(
    ("target", "expected"),
    [("openai/gpt-5", "0.00625"), ("gpt-5", "0.00625"), ("meta/mine", "0.001")],
)
def test_an_alias_has_the_prices_of_its_target(target: str, expected: str) -> None:
    """A name with a slash is a provider's model, or the name of a model."""
    text = f"""
models:
  - {{model: alias, same_as: {target}}}
  - {{model: second, same_as: alias}}
  - {{model: meta/mine, prices: {{input_mtok: 1, output_mtok: 0}}}}
"""
    for model in ("alias", "second"):
        found = Pricer(read_yaml(text, builtin_book())).explain(used(1000, 500, model=model))
        assert (Decimal(expected), model) == (price(text, model=model), found.alias)


@pytest.mark.parametrize(
    ("rate", "unit"),
    [
        ("cache_write_mtok", "cache_write_tokens"),
        ("cache_write_1h_mtok", "cache_write_1h_tokens"),
        ("output_reasoning_mtok", "output_reasoning_tokens"),
        ("input_audio_mtok", "input_audio_tokens"),
        ("output_audio_mtok", "output_audio_tokens"),
        ("input_image_mtok", "input_image_tokens"),
        ("web_searches_kcount", "web_searches"),
    ],
)
def test_each_rate_of_the_page_is_that_of_a_unit(rate: str, unit: str) -> None:
    """The event counts the unit, and the file names its rate."""
    units = builtin_book().document.units

    assert rate == units[unit].rate_name
    assert f"`{rate}`" in DOCS.read_text()


def test_a_discount_counts_from_its_day_on() -> None:
    """Before it, the less specific one counts."""
    text = """
discounts:
  - {provider: openai, negotiated: 0.9}
  - {customer: acme, negotiated: 0.5, from: 2026-03-01}
  - {customer: acme, negotiated: 0.4, from: 2026-04-01}
"""
    days = {"2026-02-28": "0.005625", "2026-03-01": "0.003125", "2026-04-01": "0.0025"}
    for day, expected in days.items():
        at = datetime.fromisoformat(f"{day}T23:59:59Z")
        usage = {"provider": "openai", "model": "gpt-5", "customer_id": "acme", "occurred_at": at}

        assert Decimal(expected) == price(text, **usage), day


def test_a_large_book_is_read_and_used_quickly() -> None:
    """10,000 models and 1,000 discounts: seconds to read, microseconds to use."""
    numbers = range(10_000)
    text = "models:\n" + "".join(
        f"  - {{model: m-{n}, provider: p{n % 7}, prices: {{input_mtok: {n}.25}}}}\n"
        for n in numbers
    )
    text += "discounts:\n"
    text += "".join(f"  - {{customer: c-{n}, negotiated: 0.9}}\n" for n in range(1000))
    started = time.process_time()
    book = read_yaml(text, builtin_book())
    pricer = Pricer(PriceBook.from_json(book.to_json(), book.version))
    usages = [
        used(1000, provider=f"p{n % 7}", model=f"m-{n}", customer_id=f"c-{n % 1000}")
        for n in numbers
    ]
    prices = [pricer.price(usage) for usage in usages]
    read = time.process_time() - started
    for usage in usages:
        pricer.price(usage)
    again = time.process_time() - started - read

    assert [(n * 100 + 25) * 10_000_000 * 9 // 10 for n in numbers] == prices
    assert read < 30  # 4 s here
    assert again < 0.5  # 10 ms here


def test_unknown_names_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers choose the names of models: what is kept for them has a bound."""
    monkeypatch.setattr("usagepipe.schemas.prices.pricer.MAX_PLANS", 100)
    pricer = Pricer(builtin_book())
    for number in range(1000):
        pricer.price(used(1, model=f"none-{number}"))

    assert len(pricer._plans) <= 100

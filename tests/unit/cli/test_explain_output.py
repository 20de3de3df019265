"""How an explanation is printed. Run with `UPDATE_GOLDEN=1` to rewrite the golden files."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from tests.support.price_usage import book, entry
from usagepipe.cli.explain_amounts import exact_text, money_text
from usagepipe.cli.explain_json import explained_fields
from usagepipe.cli.explain_output import CURES, print_explained
from usagepipe.cli.root import run
from usagepipe.query.explanations import ExplainedEvent
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.prices import Pricer, Unpriced, read_yaml
from usagepipe.schemas.prices.document import Period, TieredRate, Variant

Output = pytest.CaptureFixture[str]
GOLDEN: Final = Path(__file__).parent / "golden"
BOOK: Final = "0123456789abcdef"  # instead of the version, which depends on genai-prices
TIERED = TieredRate.model_validate({"base": "3", "tiers": [{"above": 200_000, "rate": "6"}]})
DATED = Period(
    since="2026-01-01",
    rates={"input_tokens": TIERED, "output_tokens": Decimal(15), "web_searches": Decimal(10)},
)
NIGHT = Variant(
    since="2026-01-01",
    daily=("10:00:00", "14:00:00"),
    rates={"output_tokens": Decimal("7.5")},
    when={"service_tier": "flex"},
)
PRICER = Pricer(
    read_yaml(
        "discounts: [{customer: acme, negotiated: 0.92, from: 2026-02-01}]",
        book(
            entry("m-1", periods=(DATED,), variants=(NIGHT,)),
            entry("free", {"input_tokens": "0", "output_tokens": "0"}),
        ),
    )
)
EVENT = UsageEvent(
    event_id=UUID("01900000-0000-7000-8000-000000000001"),
    occurred_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    request_id="r-1",
    user_id="u-1",
    customer_id="acme",
    provider="acme",
    model="m-1",
    service_tier="flex",
    prompt_tokens=300_001,
    cached_tokens=100_000,
    completion_tokens=2_000,
    reasoning_tokens=500,
    total_tokens=302_001,
    units={"web_searches": 3},
)


def explained(**fields: Any) -> ExplainedEvent:
    event = EVENT.model_copy(update=fields)
    return ExplainedEvent(event, PRICER.explain(event), parts=(event,))


def priced(**fields: Any) -> ExplainedEvent:
    found = explained(**fields)
    cost = {"cost": found.book_cost, "cost_source": "priced", "price_version": PRICER.version}
    return explained(**fields, **cost)


def with_parts() -> ExplainedEvent:
    found = priced()
    second = EVENT.model_copy(
        update={"event_id": UUID(int=2), "part": 1, "model": "m-2\x1b[31m", "cost": None}
    )
    return replace(found, rows=2, parts=(found.event, second))


OWN = {"cost": Decimal("1.25"), "reported_cost": Decimal("1.25"), "price_version": "list-7"}
REPORTED = OWN | {"cost_source": "reported"}
CASES = {
    "priced": priced(),
    "priced_before_a_reported_cost": priced(reported_cost=Decimal("1.25")),
    "parts": with_parts(),
    "parts_with_a_reported_cost": replace(with_parts(), event=EVENT.model_copy(update=REPORTED)),
    "free": priced(model="free", units={}),
    "reported": explained(**OWN, cost_source="reported"),
    "stamped_without_a_price": explained(**OWN, cost_source="stamped", model="m-2"),
    "stored_by_an_early_version": explained(**OWN | {"reported_cost": None}),
    "no_entry": explained(model="m-2"),
    "no_rate": explained(units={"audio_seconds": 3}),
    "unknown_unit": explained(units={"bananas": 3}),
    "usage_missing": explained(usage_quality="missing"),
    "nothing_to_price": explained(
        failed=True, prompt_tokens=0, cached_tokens=0, completion_tokens=0, reasoning_tokens=0,
        total_tokens=0, units={},
    ),
    "priced_meanwhile": explained(),
    "wrong": explained(cost=Decimal(1), cost_source="priced", price_version=PRICER.version),
    "wrong_without_a_price": explained(cost=Decimal(1), cost_source="priced", model="m-2"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_explanation_is_the_golden_one(
    name: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentences and tables, for a terminal of 120 columns."""
    monkeypatch.setenv("COLUMNS", "120")
    golden = GOLDEN / f"explain_{name}.txt"

    print_explained(CASES[name])

    shown = capsys.readouterr().out.replace(PRICER.version, BOOK)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(shown)
    assert golden.read_text() == shown


def test_the_json_is_the_golden_one() -> None:
    """All amounts are text with all their decimals."""
    golden = GOLDEN / "explain.json"

    fields = json.dumps(explained_fields(with_parts()), indent=2) + "\n"

    shown = fields.replace(PRICER.version, BOOK)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(shown)
    assert golden.read_text() == shown


@pytest.mark.parametrize("name", CASES)
def test_every_explanation_has_json(name: str) -> None:
    """The classes add up to the book's cost."""
    found = CASES[name]

    fields = json.loads(json.dumps(explained_fields(found)))

    amounts = [Decimal(each["amount"]) for each in fields["book"]["classes"]]
    total = None if found.book_cost is None else money_text(sum(amounts, Decimal(0)))
    assert total == fields["book"]["cost"]
    assert found.is_proven != (name.startswith("wrong"))


def test_every_reason_has_a_cure() -> None:
    """A reader learns what to do, except where nothing is missing or a rate is absurd."""
    assert {Unpriced.NOTHING_TO_PRICE, Unpriced.TOO_LARGE} == set(Unpriced) - set(CURES)


def test_a_malformed_id_is_wrong_use(capsys: Output) -> None:
    """It is refused before a server is asked."""
    assert 2 == run(["explain", "not-an-id"])
    assert "'not-an-id' is not a valid UUID" in capsys.readouterr().err


def test_a_narrow_terminal_shows_cards(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """No number is cut."""
    monkeypatch.setenv("COLUMNS", "50")

    print_explained(CASES["priced"])

    shown = capsys.readouterr().out
    assert exact_text(CASES["priced"].explanation.parts[0].amount) in shown


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Fraction(0), "0"),
        (Fraction(12), "12"),
        (Fraction(1, 8), "0.125"),
        (Fraction(123, 50), "2.46"),
        (Fraction(1, 10**20), "0.00000000000000000001"),
        (Fraction(1, 3), "0.333333333333333333333333"),
        (Fraction(2, 3), "0.666666666666666666666667"),
    ],
)
def test_an_amount_has_all_its_decimals(amount: Fraction, text: str) -> None:
    """Only decimals without an end are rounded."""
    assert text == exact_text(amount)

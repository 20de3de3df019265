"""How usage without a price, and the effects of another book, are shown."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.golden import golden
from tests.support.price_usage import book, entry
from usagepipe.cli.prices_difference import print_affected
from usagepipe.cli.prices_unpriced import price_file, print_unpriced
from usagepipe.query.answers import GroupUsage
from usagepipe.query.repricing import Affected, Estimate
from usagepipe.query.unpriced import UnpricedModel, UnpricedUsage
from usagepipe.schemas.prices import Pricer, Unpriced

GOLDEN = Path(__file__).parent / "golden" / "prices"
NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
PRICER = Pricer(book(entry(rates={"input_tokens": "1"})))
Output = pytest.CaptureFixture[str]


def without(
    model: str, reason: Unpriced | None, units: set[str], *culprits: str, provider: str = "acme"
) -> UnpricedModel:
    return UnpricedModel(provider, model, reason, culprits, 12, 3_456, NOON, frozenset(units))


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")


def test_unpriced_models_have_their_reasons_and_a_price_file(capsys: Output) -> None:
    """Case does not count in the file; what no rate would price is in the table alone."""
    models = (
        without("m-2", Unpriced.NO_ENTRY, {"input_tokens", "output_tokens", "dreams"}),
        without("M-2", Unpriced.NO_ENTRY, {"input_tokens", "web_searches"}),
        without("m-1", Unpriced.NO_RATE, {"output_tokens"}, "output_tokens"),
        without("m-1", Unpriced.USAGE_MISSING, set()),
        without("m-1", None, {"input_tokens"}),
        without("a*b", Unpriced.NO_ENTRY, {"input_tokens"}),
        without("\x1b[31m", Unpriced.NO_ENTRY, set(), provider=""),
    )

    print_unpriced(UnpricedUsage(models, left_out=7), "month", PRICER)

    shown = capsys.readouterr().out
    assert golden(GOLDEN / "unpriced.txt", shown) == shown


def test_what_no_rate_would_price_has_no_price_file() -> None:
    """An empty list of models would be a mistake."""
    assert "" == price_file([without("m-1", Unpriced.USAGE_MISSING, set())], PRICER)
    unnamed = price_file([without("a*b", Unpriced.NO_ENTRY, set())], PRICER)
    assert unnamed.startswith("# Not here, because a price file cannot name the model")
    assert "models:" not in unnamed


def test_affected_models_have_both_costs(capsys: Output) -> None:
    """The stored one with what is unpriced, and that by the new book."""
    measures = dict.fromkeys(GroupUsage.model_fields, 0) | {"last_used": NOON, "start": None}
    names = ("source", "user_id", "user_name", "api_key_id", "api_key_name")
    measures |= dict.fromkeys((*names, "team_id", "customer_id"), None)
    rows = [
        GroupUsage.model_validate(
            measures | {"provider": "acme", "model": model, "cost": cost, "unpriced_requests": 2}
        )
        for model, cost in (("m-1", Decimal("12.5")), ("m-2", None))
    ]

    print_affected(
        [
            Affected(rows[0], Estimate(Decimal("13.25"), exact=False)),
            Affected(rows[1], Estimate(None, exact=False)),
        ]
    )

    shown = capsys.readouterr().out
    assert golden(GOLDEN / "affected.txt", shown) == shown

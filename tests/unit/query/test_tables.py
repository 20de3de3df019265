"""Tables in terminals of every width."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

import pytest
from rich.console import Console

from usagepipe.query.answers import KeyUsage, RollUp, Usage
from usagepipe.query.repricing import Estimate
from usagepipe.query.tables import cost_text, estimate_text, roll_up_table

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "0b0e6b3e-52f5-4e3c-9d57-3f0a3a0a2f6e"
FIGURES = ("44,970", "1,234,567", "7,654,321", "8,888,888", "1,234.5678 + 12 unpriced")


def shown(width: int) -> str:
    row = KeyUsage(
        api_key_id=KEY,
        api_key_name="laptop",
        user_id="u-1",
        user_name="Ann",
        users=1,
        last_used=NOW,
        requests=44_970,
        failures=0,
        prompt_tokens=1_234_567,
        completion_tokens=7_654_321,
        total_tokens=8_888_888,
        cached_tokens=0,
        cache_write_tokens=0,
        reasoning_tokens=0,
        cost=Decimal("1234.5678"),
        unpriced_requests=12,
        missing_requests=0,
        partial_requests=0,
        inconsistent_requests=0,
    )
    answer = RollUp[KeyUsage](start=NOW, end=NOW, rows=(row,), truncated=True)
    text = StringIO()
    Console(file=text, width=width).print(roll_up_table("By key", answer))
    return text.getvalue()


@pytest.mark.parametrize("width", [50, 60, 80, 100, 132, 200, 10_000])
def test_a_figure_is_never_cut_or_wrapped(width: int) -> None:
    """In a narrow terminal the columns are below each other."""
    text = shown(width)

    assert [] == [figure for figure in FIGURES if not re.search(rf" {re.escape(figure)} ", text)]
    assert all(len(line) <= width for line in text.splitlines())


def test_an_id_is_whole_where_there_is_room() -> None:
    """Wide output, such as a pipe, has it in one piece."""
    assert KEY in shown(10_000)
    assert KEY in shown(60)


@pytest.mark.parametrize("width", [60, 200])
def test_every_form_says_that_there_are_more_rows(width: int) -> None:
    """The caption is below both forms."""
    assert "The first 1; there are more (--limit)." in shown(width)


@pytest.mark.parametrize(
    ("cost", "unpriced", "text"),
    [
        ("12.5", 0, "12.5000"),
        ("12.5", 1_234, "12.5000 + 1,234 unpriced"),
        ("0.00001", 0, "<0.0001"),
        ("0", 2, "0.0000 + 2 unpriced"),
        (None, 3, "3 unpriced"),
        (None, 0, "-"),
    ],
)
def test_a_cost_says_how_many_requests_it_lacks(cost: str | None, unpriced: int, text: str) -> None:
    """What is unknown is a number of requests, never 0 dollars."""
    measures = dict.fromkeys(Usage.model_fields, 0)
    given = {"cost": cost and Decimal(cost), "unpriced_requests": unpriced}

    assert text == cost_text(Usage.model_validate(measures | given))


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(Decimal("1234.5"), exact=True), "1,234.5000"),
        (Estimate(Decimal("0.00001"), exact=False), "about <0.0001"),
        (Estimate(None, exact=False), "no price"),
    ],
)
def test_an_estimate_says_whether_it_is_certain(estimate: Estimate, text: str) -> None:
    """A reader may not compare an uncertain number to the cent."""
    assert text == estimate_text(estimate)

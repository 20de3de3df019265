"""`usagepipe prices unpriced`: what was used without a price, why, and YAML that prices it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.clickhouse_server import url_of
from tests.support.stored_events import store
from usagepipe.cli.root import run
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.clickhouse.price_books import apply_book
from usagepipe.schemas.prices import Pricer, Unpriced, builtin_book, read_yaml
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Output = pytest.CaptureFixture[str]
BOOK = """
base: none
models:
  - model: known
    provider: acme
    prices: {input_mtok: 1, output_mtok: {base: 2, tiers: [{start: 200000, price: 3}]}}
    variants: [{batch: true, prices: {input_mtok: 0.5}}]
  - model: cached
    provider: acme
    prices: {input_mtok: 1, cache_read_mtok: 0.1, output_mtok: 2}
"""


def used(model: str, provider: str = "acme", prompt: int = 0, **fields: Any) -> UsageEvent:
    defaults: dict[str, Any] = {
        "user_id": "u-1",
        "occurred_at": datetime.now(UTC) - timedelta(hours=1),
        "provider": provider,
        "model": model,
        "prompt_tokens": prompt,
        "total_tokens": prompt + fields.get("completion_tokens", 0),
    }
    return UsageEvent.new(**defaults | fields)


LONG_AGO = datetime.now(UTC) - timedelta(days=3)
EVENTS = [
    used("New", prompt=100, completion_tokens=20, cached_tokens=10),
    used("new", prompt=50, units={"input_audio_tokens": 5}),
    used("known", prompt=10, units={"web_searches": 2}),
    used("known", prompt=10, units={"dream_minutes": 2}),
    used("known", prompt=7),  # stored before it had a price
    used("cached", prompt=4, cached_tokens=2),  # so was this
    used("cached", prompt=4, cached_tokens=5),  # a part that exceeds its whole
    used("known", usage_quality="missing"),
    used("known", prompt=5, total_tokens=9),
    used("star*", prompt=3),
    used("other\x1b[31m", "", prompt=2),
    used("known", prompt=1, part=1, units={"web_searches": 1}),
    used("known", prompt=9, cost=Decimal(1), cost_source="reported"),
    used("gone", failed=True),
    used("failed", failed=True, units={"input_characters": 1}),
    used("old", prompt=9, occurred_at=LONG_AGO, units={"dream_minutes": 2}),
]


@pytest.fixture
def unpriced(
    migrated: ClickHouseAddress, clickhouse_client: "Client", monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Runs `usagepipe prices unpriced` on tables with an applied book and some usage."""
    monkeypatch.setenv("USAGEPIPE_CLICKHOUSE", url_of(migrated))
    monkeypatch.setenv("COLUMNS", "200")
    apply_book(clickhouse_client, read_yaml(BOOK, builtin_book()), "ann@host", "")
    store(clickhouse_client, *EVENTS)
    return lambda *arguments: run(["prices", "unpriced", *arguments])


def test_each_model_has_its_reasons(unpriced: Callable[..., int], capsys: Output) -> None:
    """Requests, tokens, and why; a period leaves out what is older."""
    assert 0 == unpriced("--period", "day", "--json")

    answer = json.loads(capsys.readouterr().out)
    found = {
        (each["model"], each["reason"], *each["without_rate"]): (
            each["unpriced_requests"],
            each["total_tokens"],
        )
        for each in answer["models"]
    }
    assert {
        ("New", "no_entry"): (1, 120),
        ("new", "no_entry"): (1, 50),
        ("known", "no_rate", "web_searches"): (2, 11),
        ("known", "unknown_unit", "dream_minutes"): (1, 10),
        ("known", "priced_now"): (1, 7),
        ("cached", "priced_now"): (1, 4),
        ("cached", "inconsistent", "input_tokens"): (1, 4),
        ("known", "usage_missing"): (1, 0),
        ("known", "unclassified_tokens"): (1, 9),
        ("star*", "no_entry"): (1, 3),
        ("failed", "no_entry"): (1, 0),
        ("other\x1b[31m", "no_entry"): (1, 2),
    } == found
    assert 0 == answer["left_out"]


def test_the_table_has_the_same_in_words(unpriced: Callable[..., int], capsys: Output) -> None:
    """Names of callers are shown and never obeyed."""
    assert 0 == unpriced()

    shown = capsys.readouterr().out
    assert Unpriced.NO_ENTRY.sentence in shown
    assert "The entry has no rate for a unit that the event counts. (web_searches)" in shown
    assert "The active book has a price: the events were stored without it." in shown
    assert "other\N{REPLACEMENT CHARACTER}[31m" in shown
    assert "\x1b" not in shown
    assert " old " in shown
    assert "# Fill in the empty rates" in shown


def test_the_yaml_prices_the_events(
    unpriced: Callable[..., int], capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` refuses it until the rates are filled in; then the events that it names are priced.

    What the entry already has is kept, and rates that overlap come with the rate of both.
    """
    monkeypatch.chdir(tmp_path)
    assert 0 == unpriced("--yaml")
    text = capsys.readouterr().out
    file = Path("prices.yaml")

    file.write_text(text)
    assert 2 == run(["prices", "check", "prices.yaml"])
    assert "web_searches_kcount is empty" in capsys.readouterr().err
    filled = text.replace(":  #", ": 1  #")
    file.write_text(filled)
    assert 0 == run(["prices", "check", "prices.yaml"])

    assert "      - input_mtok: 1\n" in text
    assert "        output_mtok: {base: 2, tiers: [{start: 200000, price: 3}]}\n" in text
    assert "        cache_audio_read_mtok:  # US dollars for 1,000,000\n" in text
    assert '# Not here, because a price file cannot name the model "star*" of acme: 1 unp' in text
    assert "  # dream_minutes is a unit that no rate is for" in text
    pricer = Pricer(read_yaml(filled, builtin_book()))
    without = [each.model for each in EVENTS if isinstance(pricer.price(each), Unpriced)]
    assert ["known", "cached", "cached", "known", "known", "star*", "gone", "old"] == without


def test_what_raw_has_lost_is_counted(
    unpriced: Callable[..., int], clickhouse_client: "Client", capsys: Output
) -> None:
    """The rollups are kept longer than raw events, without the reasons."""
    clickhouse_client.command("TRUNCATE TABLE usage_events")

    assert 0 == unpriced("--period", "all")

    shown = capsys.readouterr().out
    assert "14 more have no price and are no longer in the raw table" in shown
    assert "models:" not in shown


def test_where_every_request_has_a_price_it_says_so(
    migrated: ClickHouseAddress, capsys: Output
) -> None:
    """No table, and no YAML."""
    assert 0 == run(["prices", "unpriced", "--clickhouse", url_of(migrated)])

    assert "Every request has a price, month.\n" == capsys.readouterr().out


def test_yaml_and_json_exclude_each_other(capsys: Output) -> None:
    """Each is the whole output."""
    assert 2 == run(["prices", "unpriced", "--yaml", "--json"])
    assert "--yaml and --json exclude each other." in capsys.readouterr().err

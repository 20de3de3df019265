"""`usagepipe prices apply` and `history` as an operator runs them."""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.clickhouse_server import url_of
from tests.support.faulty_proxy import FaultyProxy, answers
from tests.support.ports import lasting_port
from tests.support.stored_events import store
from usagepipe.cli import prices_apply
from usagepipe.cli.root import run
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.clickhouse.price_books import active_version, apply_book, history
from usagepipe.schemas.prices import builtin_book, read_yaml
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FIRST = """
models:
  - {model: llama, provider: cluster, prices: {input_mtok: 1, output_mtok: 2}}
"""
SECOND = """
models:
  - {model: llama, provider: cluster, prices: {input_mtok: 3, output_mtok: 2, per_request: 0.5}}
  - {model: tiers, prices: {input_mtok: {base: 1, tiers: [{start: 100, price: 2}]}}}
  - {model: new, provider: cluster, prices: {input_mtok: 1}}
discounts:
  - {customer: acme, negotiated: 0.5}
"""
Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two price files in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("first.yaml").write_text(FIRST)
    Path("second.yaml").write_text(SECOND)


@pytest.fixture
def prices(migrated: ClickHouseAddress, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `usagepipe prices …` on this test's tables."""
    monkeypatch.setenv("USAGEPIPE_CLICKHOUSE", url_of(migrated))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: run(["prices", *arguments])


def version_of(text: str) -> str:
    return read_yaml(text, builtin_book()).version


def used(model: str, provider: str = "cluster", **fields: object) -> UsageEvent:
    defaults: dict[str, object] = {
        "user_id": "u-1",
        "occurred_at": datetime.now(UTC) - timedelta(days=2),
        "provider": provider,
        "model": model,
        "prompt_tokens": 1_000_000,
        "total_tokens": 1_000_000,
    }
    return UsageEvent.new(**defaults | fields)


def test_a_book_is_applied_and_another_is_gone_back_to(
    prices: Callable[..., int], clickhouse_client: "Client", capsys: Output
) -> None:
    """The history names every step, with who took it; the last one is active."""
    first, second = version_of(FIRST), version_of(SECOND)

    statuses = [
        prices("apply", "first.yaml", "--yes", "--comment", "our\x1b[31m cluster"),
        prices("apply", "second.yaml", "--yes"),
        prices("apply", "--version", first, "--yes"),
        prices("apply", "built-in", "--yes"),
        prices("apply", second, "--yes"),
    ]

    capsys.readouterr()
    assert [0] * 5 == statuses
    builtin = builtin_book().version
    rows = history(clickhouse_client)
    assert [second, builtin, first, second, first] == [each.version for each in rows]
    assert all("@" in each.applied_by for each in rows)
    assert second == active_version(clickhouse_client)
    assert 0 == prices("history")
    shown = capsys.readouterr().out
    assert "our\N{REPLACEMENT CHARACTER}[31m cluster" in shown
    assert 1 == shown.count("│    yes │")
    assert 0 == prices("history", "--json")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [True, False, False, False, False] == [line["active"] for line in lines]
    assert {"applied_at", "version", "applied_by", "comment", "active"} == set(lines[0])
    assert 1 == prices("diff", first, "active")
    assert 0 == prices("show", "llama", "--provider", "cluster")
    assert second in capsys.readouterr().out


def test_without_an_applied_book_the_built_in_one_is_active(
    prices: Callable[..., int], capsys: Output
) -> None:
    """An empty history says what workers price with."""
    version = builtin_book().version

    assert 0 == prices("history")
    assert 0 == prices("diff", "active", "built-in")

    shown = " ".join(capsys.readouterr().out.split())
    assert f"the built-in book of their version of usagepipe. Here, that is {version}." in shown


def test_the_effects_are_shown_before_anything_changes(
    prices: Callable[..., int], clickhouse_client: "Client", capsys: Output
) -> None:
    """The models whose prices differ, their stored cost, and that by the new book."""
    prices("apply", "first.yaml", "--yes")
    capsys.readouterr()
    store(
        clickhouse_client,
        used("llama", cost=Decimal("1.5"), cost_source="stamped"),
        used("llama", customer_id="acme"),
        used("llama", failed=True, prompt_tokens=0, total_tokens=0),
        used("tiers", "other"),
        used("gpt-5", "openai", cost=Decimal(1), cost_source="reported"),
        used("unknown"),
        used("llama", occurred_at=datetime.now(UTC) - timedelta(days=40)),
    )

    assert 0 == prices("apply", "second.yaml", "--dry-run")

    shown = capsys.readouterr().out
    rows = {
        row[2]: row[-3:-1]
        for line in shown.partition("The last 30 days")[2].splitlines()
        if len(row := [cell.strip() for cell in line.split("│")]) > 5
    }
    # 3 for the first million and half of it for acme, 0.5 and half of it for their requests.
    assert ["1.5000 + 1 unpriced", "5.2500"] == rows["llama"]
    assert ["1 unpriced", "about 2.0000"] == rows["tiers"]
    assert {"llama", "tiers", "gpt-5"} == set(rows)  # acme pays half for gpt-5, too
    assert "about: the rates of ordinary requests." in shown
    assert shown.endswith("Dry run: nothing was changed.\n")
    assert 1 == len(history(clickhouse_client))


def test_a_book_without_effect_on_used_models_says_so(
    prices: Callable[..., int], capsys: Output
) -> None:
    """The table of models is left out."""
    assert 0 == prices("apply", "first.yaml", "--dry-run")

    assert "No model of the last 30 days has another price." in capsys.readouterr().out


def test_the_active_book_is_not_applied_again(
    prices: Callable[..., int], clickhouse_client: "Client", capsys: Output
) -> None:
    """The same prices, also from another file, change nothing."""
    prices("apply", "first.yaml", "--yes")
    Path("other.yaml").write_text(f"# the same\n{FIRST}")

    assert 0 == prices("apply", "other.yaml", "--yes")

    assert "is active already: nothing was changed." in capsys.readouterr().out
    assert 1 == len(history(clickhouse_client))


@pytest.mark.parametrize(
    ("answer", "status", "applied"), [("n\n", 1, 0), ("y\n", 0, 1), ("", 2, 0)]
)
def test_it_asks_before_it_changes_anything(
    prices: Callable[..., int],
    clickhouse_client: "Client",
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    answer: str,
    status: int,
    applied: int,
) -> None:
    """Where nobody can answer, it names --yes."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))

    assert status == prices("apply", "first.yaml")

    assert applied == len(history(clickhouse_client))
    assert status != 2 or "add --yes to apply it" in capsys.readouterr().err


def test_a_book_that_another_operator_applies_meanwhile_is_not_overwritten(
    prices: Callable[..., int],
    clickhouse_client: "Client",
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    """The operator agreed to a difference from the book before."""

    def confirmed(*texts: str) -> bool:
        apply_book(clickhouse_client, read_yaml(SECOND, builtin_book()), "ann@host", "")
        return True

    monkeypatch.setattr(prices_apply, "confirmed", confirmed)

    assert 1 == prices("apply", "first.yaml")

    assert f"ann@host applied the book {version_of(SECOND)} meanwhile" in capsys.readouterr().err
    assert [version_of(SECOND)] == [each.version for each in history(clickhouse_client)]


def test_of_two_that_apply_at_once_one_hears_that_it_lost(
    prices: Callable[..., int],
    clickhouse_client: "Client",
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    """Both are in the history; the later one is active."""
    second = read_yaml(SECOND, builtin_book())

    def both(*arguments: object) -> None:
        apply_book(*arguments)  # type: ignore[arg-type]
        apply_book(clickhouse_client, second, "ann@host", "")

    monkeypatch.setattr(prices_apply, "apply_book", both)

    assert 1 == prices("apply", "first.yaml", "--yes")

    assert f"The book {second.version} was applied at the same time" in capsys.readouterr().err
    assert 2 == len(history(clickhouse_client))


def test_a_history_that_is_lost_meanwhile_is_named(
    prices: Callable[..., int],
    clickhouse_client: "Client",
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The difference that was shown is no longer right."""
    prices("apply", "first.yaml", "--yes")

    def lose(*_: object) -> bool:
        clickhouse_client.command("TRUNCATE TABLE price_book_history")
        return True

    monkeypatch.setattr(prices_apply, "confirmed", lose)

    assert 1 == prices("apply", "second.yaml")

    assert "price_book_history was emptied meanwhile" in capsys.readouterr().err


@pytest.mark.parametrize(("book", "problem"), [('{"format":1', "is damaged"), (None, "not stored")])
def test_an_active_book_that_cannot_be_used_is_repaired_by_applying_it(
    prices: Callable[..., int],
    clickhouse_client: "Client",
    book: str | None,
    problem: str,
    capsys: Output,
) -> None:
    """The difference cannot be shown, but nothing else stops it."""
    version = version_of(FIRST)
    if book is not None:
        columns: tuple[str, ...] = ("version", "book")
        clickhouse_client.insert("price_books", [[version, book]], column_names=columns)
    columns = ("version", "applied_by", "comment")
    clickhouse_client.insert("price_book_history", [[version, "ann", ""]], column_names=columns)

    assert 1 == prices("list")
    assert problem in capsys.readouterr().err
    assert 0 == prices("apply", "first.yaml", "--yes")
    assert "What it changes cannot be shown." in capsys.readouterr().err
    assert 0 == prices("show", "llama", "--provider", "cluster")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "Give one of BOOK and --version."),
        (["first.yaml", "--version", "0" * 16], 2, "Give one of BOOK and --version."),
        (["active"], 2, "That book is active already."),
        (["0123456789abcdef"], 1, "The price book 0123456789abcdef is not stored."),
        (["--version", "v2"], 2, "v2 is not a version: it has 16 digits"),
    ],
)
def test_wrong_use_has_a_sentence(
    prices: Callable[..., int], arguments: list[str], status: int, message: str, capsys: Output
) -> None:
    """Nothing is applied, and the sentence says what to do."""
    assert status == prices("apply", *arguments, "--yes")
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [["apply", "first.yaml", "--yes"], ["history"], ["list"]])
def test_missing_tables_name_the_migration(
    database: ClickHouseAddress, command: list[str], capsys: Output
) -> None:
    """A new database has no tables yet."""
    status = run(["prices", *command, "--clickhouse", url_of(database)])

    assert 1 == status
    assert "a table is missing. Run usagepipe migrate." in capsys.readouterr().err


@pytest.mark.parametrize("command", [["apply", "first.yaml", "--yes"], ["history"], ["list"]])
def test_a_server_that_is_down_has_a_status_of_its_own(command: list[str], capsys: Output) -> None:
    """It is not a wrong use."""
    url = f"http://127.0.0.1:{lasting_port()}"

    assert 3 == run(["prices", *command, "--clickhouse", url])
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "command"),
    [("price_book_history", ["history"]), ("price_books", ["apply", "first.yaml", "--yes"])],
)
def test_a_missing_right_is_named(
    migrated: ClickHouseAddress,
    clickhouse_client: "Client",
    table: str,
    command: list[str],
    capsys: Output,
) -> None:
    """ClickHouse refuses; the text says what the user lacks. Nothing is applied."""
    proxy = FaultyProxy(migrated.port, reads_of=table)
    url = url_of(replace(migrated, port=proxy.port))
    try:
        with proxy.failing(answers(403, 497, "ACCESS_DENIED")):
            status = run(["prices", *command, "--clickhouse", url])
    finally:
        proxy.close()

    assert 3 == status
    assert "lacks a right" in capsys.readouterr().err
    assert () == history(clickhouse_client)

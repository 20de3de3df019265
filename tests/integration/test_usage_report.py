"""`usagepipe usage`: its order, its time zone, its groups, and what it says of unknown numbers."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.clickhouse_server import url_of
from tests.support.stored_events import store
from usagepipe.cli.root import run
from usagepipe.query.usage_queries import GROUPS
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

OCTOBER = ("--from", "2026-10-01", "--to", "2026-11-01")
Output = pytest.CaptureFixture[str]


class Report:
    """Stores events and asks for their usage."""

    def __init__(self, url: str, client: "Client", capsys: Output) -> None:
        self.url = url
        self._client = client
        self._capsys = capsys

    def store(self, *events: UsageEvent) -> None:
        store(self._client, *events)

    def text(self, *arguments: str) -> str:
        assert 0 == run(["usage", "--clickhouse", self.url, *arguments])
        return self._capsys.readouterr().out

    def json(self, *arguments: str) -> Any:
        return json.loads(self.text("--json", *arguments))


@pytest.fixture
def report(migrated: ClickHouseAddress, clickhouse_client: "Client", capsys: Output) -> Report:
    return Report(url_of(migrated), clickhouse_client, capsys)


def used(key: str, tokens: int, cost: str | None = None, **fields: Any) -> UsageEvent:
    defaults: dict[str, Any] = {
        "user_id": "u-1",
        "api_key_id": key,
        "occurred_at": datetime(2026, 10, 15, 12, tzinfo=UTC),
        "total_tokens": tokens,
        "cost": cost and Decimal(cost),
    }
    return UsageEvent.new(**defaults | fields)


def keys(answer: Any, name: str = "by_key") -> list[str]:
    return [row["api_key_id"] for row in answer[name]["rows"]]


def test_rows_are_ranked_by_what_is_asked_for(report: Report) -> None:
    """The limit drops the least by that measure; equal rows come by their id."""
    report.store(
        used("cheap", 9_000, "0.1"),
        used("dear", 10, "99"),
        used("busy", 5),
        used("busy", 5, failed=True),
        used("equal", 10),
    )

    orders = {
        sort: keys(report.json("--period", "all", "--by", "key", "--sort", sort))
        for sort in ("tokens", "requests", "cost", "failures", "id")
    }
    (dearest,) = keys(report.json(*OCTOBER, "--by", "key", "--sort", "cost", "--limit", "1"))

    assert {
        "tokens": ["cheap", "busy", "dear", "equal"],
        "requests": ["busy", "cheap", "dear", "equal"],
        "cost": ["dear", "cheap", "busy", "equal"],
        "failures": ["busy", "cheap", "dear", "equal"],
        "id": ["busy", "cheap", "dear", "equal"],
    } == orders
    assert "dear" == dearest


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        ("Asia/Kolkata", "2026-09-30T18:30:00Z", "2026-10-31T18:30:00Z"),
        ("Europe/Berlin", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),  # the clock goes back
        ("America/New_York", "2026-10-01T04:00:00Z", "2026-11-01T04:00:00Z"),
    ],
)
def test_the_range_is_in_the_time_zone(report: Report, zone: str, start: str, end: str) -> None:
    """October has 31 days everywhere; the report names the range in that zone."""
    moments = [datetime.fromisoformat(text) for text in (start, end)]
    before = [moment.replace(microsecond=0).timestamp() - 60 for moment in moments]
    for tokens, second in ((1, before[0]), (100, before[0] + 60), (10_000, before[1])):
        report.store(used("k", tokens, occurred_at=datetime.fromtimestamp(second, UTC)))

    answer = report.json(*OCTOBER, "--time-zone", zone, "--by", "time", "--width", "day")
    text = report.text(*OCTOBER, "--time-zone", zone)

    assert (start, end) == (answer["totals"]["from"], answer["totals"]["to"])
    assert 10_100 == answer["totals"]["total_tokens"]
    assert ["2026-10-01", "2026-10-31"] == [row["start"][:10] for row in answer["by_time"]["rows"]]
    assert f"from 2026-10-01 00:00:00 to 2026-11-01 00:00:00 {zone}" in text


def test_an_offset_of_its_own_wins(report: Report) -> None:
    """A moment that names its offset is that moment in every time zone."""
    span = ("--from", "2026-10-01T00:00Z", "--to", "2026-10-02T00:00+02:00")

    answer = report.json(*span, "--time-zone", "Asia/Kolkata")

    expected = ("2026-10-01T00:00:00Z", "2026-10-01T22:00:00Z")
    assert expected == (answer["totals"]["from"], answer["totals"]["to"])


def test_several_groups_are_one_table(report: Report) -> None:
    """A row for each combination, in the order of time, and then of tokens."""
    report.store(
        used("a", 1, occurred_at=datetime(2026, 10, 1, tzinfo=UTC), api_key_name="Ann's"),
        used("b", 5, occurred_at=datetime(2026, 10, 1, tzinfo=UTC)),
        used("a", 7, occurred_at=datetime(2026, 10, 2, tzinfo=UTC)),
        used("", 3, occurred_at=datetime(2026, 10, 2, tzinfo=UTC)),
    )

    answer = report.json(*OCTOBER, "--by", "key", "--by", "time")
    ranked = report.json(
        *OCTOBER, "--by", "time", "--by", "key", "--sort", "tokens", "--limit", "2"
    )
    text = report.text(*OCTOBER, "--by", "key", "--by", "time")

    assert {"totals", "by_key_time"} == set(answer)
    assert [("2026-10-01", "b", 5), ("2026-10-01", "a", 1), ("2026-10-02", "a", 7)] == [
        (row["start"][:10], row["api_key_id"], row["total_tokens"])
        for row in answer["by_key_time"]["rows"]
    ]
    assert ["a", "b"] == keys(ranked, "by_time_key")
    assert 1 == text.count("By key and time")
    assert "Over time" not in text
    assert "Ann's" in text


@pytest.mark.parametrize(
    "by", [("user", "model"), ("source", "provider", "time"), ("user_source", "team")]
)
def test_any_combination_adds_up(report: Report, by: tuple[str, ...]) -> None:
    """Rows have the fields that are grouped by, and no others."""
    report.store(
        used("", 1, model="m-1", team_id="t"), used("", 2, source="cli"), used("", 4, user_id="u-2")
    )

    answer = report.json(*OCTOBER, *(word for name in by for word in ("--by", name)))

    rows = answer[f"by_{'_'.join(by)}"]["rows"]
    assert 7 == sum(row["total_tokens"] for row in rows)
    assert ("start" in rows[0]) == ("time" in by)
    assert "api_key_id" not in rows[0]


def test_requests_without_whole_usage_are_shown(report: Report) -> None:
    """By kind, in the totals and in the row that they are of; exact also at the range's edges."""
    for quality in ("missing", "partial", "partial", "inconsistent", "complete"):
        report.store(used("k", 5, "0.1", usage_quality=quality))
    report.store(used("whole", 5, "0.1"))

    answer = report.json(*OCTOBER, "--by", "key")
    cut = report.json("--from", "2026-10-15T11:59:59", "--to", "2026-10-15T12:00:01")
    text = report.text(*OCTOBER)

    names = ("missing_requests", "partial_requests", "inconsistent_requests")
    assert [1, 2, 1] == [answer["totals"][name] for name in names]
    assert [1, 2, 1] == [cut["totals"][name] for name in names]
    assert [[1, 2, 1], [0, 0, 0]] == [
        [row[name] for name in names] for row in answer["by_key"]["rows"]
    ]
    assert "1 missing, 2 partial, 1 inconsistent" in text


def test_an_unknown_cost_is_null(report: Report) -> None:
    """T-57: never zero, and its request and tokens count. A free request has a cost of zero, and no
    request costs nothing."""
    report.store(used("unknown", 5), used("free", 5, "0"), used("some", 5), used("some", 5, "1.5"))

    rows = report.json(*OCTOBER, "--by", "key", "--sort", "id")["by_key"]["rows"]
    nothing = report.json("--from", "2020-01-01", "--to", "2020-01-02")["totals"]
    text = report.text(*OCTOBER, "--by", "key", "--key", "unknown")

    assert [("free", 0), ("some", 1), ("unknown", 1)] == [
        (row["api_key_id"], row["unpriced_requests"]) for row in rows
    ]
    assert [Decimal(0), Decimal("1.5")] == [Decimal(row["cost"]) for row in rows[:2]]
    assert rows[2]["cost"] is None
    assert (1, 5) == (rows[2]["requests"], rows[2]["total_tokens"])
    assert 0 == Decimal(nothing["cost"])
    assert "1 unpriced" in text
    assert "0.0000" not in text


def test_every_view_shows_unpriced_requests_beside_the_cost(report: Report) -> None:
    """In the totals, in each table, in groups, and over time; as a number in JSON."""
    report.store(*(used("k", 5, cost, provider="p", model="m") for cost in ("1.5", None, None)))
    views: list[list[str]] = [[], ["--by", "time"], ["--by", "time", "--by", "model"]]
    views += [["--by", group] for group in GROUPS if group not in ("time", "user_source")]

    for view in views:
        tables = report.text(*OCTOBER, *view).count("1.5000 + 2 unpriced")
        answer = report.json(*OCTOBER, *view)

        totals = answer.pop("totals")
        rows = [row for each in answer.values() for row in each["rows"]]
        assert (1 + len(rows), 2) == (tables, totals["unpriced_requests"]), view
        assert [2] * len(rows) == [row["unpriced_requests"] for row in rows], view


def test_a_failure_without_tokens_is_not_unpriced(report: Report) -> None:
    """There is nothing to price; a failure with tokens, and a success without, are unpriced."""
    report.store(
        used("k", 5, "1"),
        used("k", 0, failed=True),
        used("k", 7, failed=True),
        used("k", 0, usage_quality="missing"),
        used("failed", 0, failed=True),
    )

    rows = report.json(*OCTOBER, "--by", "key")["by_key"]["rows"]
    cut = report.json("--from", "2026-10-15T11:59:59", "--to", "2026-10-15T12:00:01")
    text = report.text(*OCTOBER)

    assert [("k", 2), ("failed", 0)] == [
        (row["api_key_id"], row["unpriced_requests"]) for row in rows
    ]
    assert 2 == cut["totals"]["unpriced_requests"]
    assert "1.0000 + 2 unpriced" in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_every_encoding_gets_a_whole_report(
    report: Report, encoding: str, form: tuple[str, ...]
) -> None:
    """What the output cannot encode is escaped; JSON stays the same JSON."""
    name = "Zo\u00eb \u4f60\u597d \U0001f44d"
    report.store(used("k-1", 5, user_name=name), used("k-2", 4, api_key_name=name))
    program = [str(Path(sys.executable).with_name("usagepipe")), "usage", "--period", "all", *form]

    ended = subprocess.run(
        [*program, "--clickhouse", report.url, "--by", "key"],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
    )

    text = ended.stdout.decode(encoding)
    assert (0, b"") == (ended.returncode, ended.stderr)
    if form:
        assert name in (row["api_key_name"] for row in json.loads(text)["by_key"]["rows"])
    else:
        assert "k-2" in text
        assert name.encode(encoding, "backslashreplace").decode(encoding) in text


@pytest.mark.parametrize("sign", ["\u202e", "\u2028", "\u2029", "\u2066", "\x9b", "\x1b", "\u200b"])
def test_no_name_orders_the_terminal(report: Report, sign: str) -> None:
    """Marks that turn or end a line, and escapes, are shown as a sign."""
    report.store(used("k" + sign, 5, user_name=f"a{sign}b", model=sign, team_id=f"t{sign}"))

    text = report.text("--period", "all", "--by", "key", "--by", "model", "--by", "team")
    nobody = report.text("--period", "all", "--user", f"a{sign}")

    assert sign not in text + nobody
    assert "k\N{REPLACEMENT CHARACTER}" in text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_report_fits_every_width(
    report: Report, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to 40 columns no line is longer, and every figure is whole."""
    monkeypatch.setenv("COLUMNS", str(width))
    report.store(used("k" * 50, 1_234_567, "12.5", user_name="Ann", usage_quality="partial"))

    text = report.text(*OCTOBER, "--by", "key", "--by", "time")

    assert all(len(line) <= width for line in text.splitlines())
    assert "1,234,567" in text
    assert "1 partial" in text

"""`usagepipe usage` as a user runs it."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.support.clickhouse_server import url_of
from tests.support.ports import lasting_port
from tests.support.stored_events import store
from usagepipe.cli.root import run
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Output = pytest.CaptureFixture[str]


@pytest.fixture
def url(migrated: ClickHouseAddress, clickhouse_client: "Client") -> str:
    """A server with the usage of one day."""
    store(
        clickhouse_client,
        UsageEvent.new(
            occurred_at=NOON,
            user_id="u-1",
            user_name="[red]Ann\x1b[31m[/red]",
            api_key_id="k-1",
            api_key_name="laptop",
            source="apikey",
            model="gpt-5",
            prompt_tokens=1_234_567,
            completion_tokens=1,
            total_tokens=1_234_568,
            cost=Decimal("12.5"),
        ),
        UsageEvent.new(occurred_at=NOON, user_id="u-2", total_tokens=9, failed=True),
    )
    return url_of(migrated)


def test_tables_show_sources_and_keys(url: str, capsys: Output) -> None:
    """Whole numbers with separators, costs with what is unknown, and ids below their names."""
    status = run(["usage", "--clickhouse", url, "--period", "all"])

    text = capsys.readouterr().out
    assert 0 == status
    assert "Usage of all time" in text
    for part in ("By source", "apikey", "1,234,568", "12.5000 + 1 unpriced", "By key", "laptop"):
        assert part in text


def test_a_name_is_shown_and_never_obeyed(url: str, capsys: Output) -> None:
    """Neither rich's markup nor a terminal's escape in a name does anything."""
    run(["usage", "--clickhouse", url, "--period", "all", "--by", "user"])

    assert "[red]Ann\N{REPLACEMENT CHARACTER}[31m[/red]" in capsys.readouterr().out


def test_json_holds_the_same(url: str, capsys: Output) -> None:
    """One object; costs are text, since a JSON number would lose digits."""
    run(
        [
            "usage",
            "--clickhouse",
            url,
            "--from",
            "2026-03-01",
            "--to",
            "2026-03-02T00:00Z",
            "--json",
        ]
    )

    answer = json.loads(capsys.readouterr().out)
    assert {"totals", "by_source", "by_key"} == set(answer)
    assert "2026-03-01T00:00:00Z" == answer["totals"]["from"] == answer["by_key"]["from"]
    assert ["12.500000000000", 1] == [
        answer["totals"][name] for name in ("cost", "unpriced_requests")
    ]
    assert ["k-1"] == [row["api_key_id"] for row in answer["by_key"]["rows"]]


def test_filters_and_buckets(url: str, capsys: Output) -> None:
    """Narrowed to one user, over time."""
    common = ["usage", "--clickhouse", url, "--period", "all", "--json"]

    run([*common, "--user", "u-2", "--by", "time", "--width", "day"])

    answer = json.loads(capsys.readouterr().out)
    assert [("2026-03-01T00:00:00Z", 9, 1)] == [
        (row["start"], row["total_tokens"], row["failures"]) for row in answer["by_time"]["rows"]
    ]


def test_nothing_is_said_to_be_nothing(url: str, capsys: Output) -> None:
    """An empty range is an answer, and not a table of zeros."""
    status = run(["usage", "--clickhouse", url, "--from", "2025-01-01", "--to", "2025-01-02"])

    expected = "No usage from 2025-01-01 00:00:00 to 2025-01-02 00:00:00 UTC.\n"
    assert (0, expected) == (status, capsys.readouterr().out)


def test_usage_without_a_key_differs_from_no_usage(url: str, capsys: Output) -> None:
    """An id that is not there is named: another one may have usage."""
    status = run(["usage", "--clickhouse", url, "--period", "all", "--key", "nosuch"])

    assert (0, "No usage of key nosuch of all time.\n") == (status, capsys.readouterr().out)


def test_a_roll_up_without_rows_says_so(url: str, capsys: Output) -> None:
    """If all usage has a key, none is without."""
    run(["usage", "--clickhouse", url, "--period", "all", "--key", "k-1", "--by", "user_source"])

    text = capsys.readouterr().out
    assert text.startswith("Usage of key k-1 of all time\n")
    assert text.endswith("By user and source: no usage without an API key.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--width", "hour"], "--width needs --by time."),
        (["--by", "key", "--time-zone", "UTC"], "--time-zone needs --by time, --from or --to."),
        (["--by", "key", "--sort", "time"], "--sort time needs --by time."),
        (["--from", "2026-01-01", "--time-zone", "Mars"], "no time zone 'Mars'"),
        (["--period", "decade"], "'decade' is not one of"),
        (["--from", "yesterday"], "'yesterday' is not a date or time"),
        (["--from", "2026-01-02", "--to", "2026-01-01"], "the end must lie after the start"),
        (["--period", "day", "--from", "2026-01-02"], "exclude each other"),
    ],
)
def test_wrong_use_ends_with_2(url: str, capsys: Output, arguments: list[str], said: str) -> None:
    """T-23e: a wrong argument is refused, and the text says why."""
    assert 2 == run(["usage", "--clickhouse", url, *arguments])
    assert said in capsys.readouterr().err


def test_missing_tables_end_with_1(database: ClickHouseAddress, capsys: Output) -> None:
    """The text names the command to run."""
    assert 1 == run(["usage", "--clickhouse", url_of(database)])
    assert "Run usagepipe migrate." in capsys.readouterr().err


def test_a_server_that_is_away_ends_with_3(capsys: Output) -> None:
    """The text names the address that was tried."""
    assert 3 == run(["usage", "--clickhouse", f"http://127.0.0.1:{lasting_port()}/usage"])
    assert "ClickHouse at http://127.0.0.1" in capsys.readouterr().err

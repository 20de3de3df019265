"""The questions about usage, on the tables as they are."""

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.support.clickhouse_server import url_of
from tests.support.past_usage import NOW, event, keyed
from tests.support.ports import lasting_port
from tests.support.stored_events import store
from usagepipe.query import TimeRange, UsageQueries
from usagepipe.query.periods import PERIOD_NAMES
from usagepipe.query.usage_queries import DEFAULT_ROWS
from usagepipe.schemas.errors import (
    MigrationError,
    ServerUnavailableError,
    UsagePipeError,
    WrongUseError,
)
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def test_a_day_and_a_month(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """T-17: what happened 48 hours ago counts for the month and not for the day."""
    store(
        clickhouse_client,
        event(prompt_tokens=50),
        event(ago=timedelta(hours=48), prompt_tokens=100),
    )

    assert 50 == usage.totals("day").prompt_tokens
    assert 150 == usage.totals("month").prompt_tokens


def test_the_periods_are_nested(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """T-18: recent 200, 48 hours old 100, and more that only longer periods have."""
    store(
        clickhouse_client,
        event(prompt_tokens=200),
        event(ago=timedelta(hours=48), prompt_tokens=100),
        event(ago=timedelta(days=8), prompt_tokens=1_000),
        event(ago=timedelta(days=31), prompt_tokens=10_000),
        event(ago=timedelta(days=-400), prompt_tokens=100_000),
    )

    found = {period: usage.totals(period).prompt_tokens for period in PERIOD_NAMES}

    assert {"day": 200, "week": 300, "month": 1_300, "all": 111_300} == found


def test_a_trailing_period_starts_at_its_millisecond(
    usage: UsageQueries, clickhouse_client: "Client"
) -> None:
    """The answer names its range, which holds its first millisecond and not the one before."""
    span = usage.totals("day")
    for moment, tokens in ((span.start, 1), (span.start - timedelta(milliseconds=1), 10)):
        store(clickhouse_client, event(occurred_at=moment, total_tokens=tokens))

    assert 1 == usage.totals("day").total_tokens
    assert timedelta(hours=24) == span.end - span.start


def test_one_user_and_everybody(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """T-19: a user's own view has that user's usage only."""
    store(
        clickhouse_client,
        *[event("u-1", prompt_tokens=10, completion_tokens=20) for _ in range(5)],
        *[event("u-2", prompt_tokens=7, completion_tokens=13) for _ in range(3)],
    )

    own, everybody = usage.totals(user_id="u-1"), usage.totals()

    assert (50, 150, 5) == (own.prompt_tokens, own.total_tokens, own.requests)
    assert (71, 8) == (everybody.prompt_tokens, everybody.requests)
    assert ["u-1"] == [row.user_id for row in usage.by_user(user_id="u-1").rows]
    assert [("u-1", 5), ("u-2", 3)] == [(row.user_id, row.requests) for row in usage.by_user().rows]


def test_a_users_own_view_has_no_legacy(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """T-20: the excluded source is in no sum, and nothing of another user is."""
    store(
        clickhouse_client,
        keyed("alice", "k1", 100),
        event("alice", total_tokens=50),
        event("alice", source="legacy", total_tokens=30),
        keyed("bob", "k2", 90),
    )

    rows = usage.by_source(user_id="alice", excluded_source="legacy").rows

    assert {"apikey": 100, "web": 50} == {row.source: row.total_tokens for row in rows}
    total = usage.totals(user_id="alice", excluded_source="legacy")
    assert 150 == total.total_tokens
    (key,) = usage.by_key(user_id="alice", excluded_source="legacy").rows
    assert ("k1", "alice") == (key.api_key_id, key.user_id)


def test_everybodys_view_has_legacy(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """T-21: the legacy user's requests are a source like others."""
    store(
        clickhouse_client,
        keyed("alice", "k1", 10),
        event("legacy-api-key", source="legacy", total_tokens=5),
    )

    rows = usage.by_source().rows

    assert [("apikey", 10), ("legacy", 5)] == [(row.source, row.total_tokens) for row in rows]


def test_filters_hold_together(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """T-22: a user and a key ask for what is of both."""
    store(
        clickhouse_client,
        keyed("alice", "k1", 100),
        keyed("alice", "k2", 20),
        keyed("bob", "k2", 3),
        event("alice", total_tokens=1),
    )

    assert 20 == usage.totals(user_id="alice", api_key_id="k2").total_tokens
    assert 1 == usage.totals(user_id="alice", api_key_id="").total_tokens


@pytest.mark.parametrize(
    "name", ["customer_id", "team_id", "user_id", "source", "api_key_id", "provider", "model"]
)
def test_every_filter_narrows_every_answer(
    usage: UsageQueries, clickhouse_client: "Client", name: str
) -> None:
    """A filter holds at the raw edge, in quarters of an hour and in days alike."""
    for ago in (timedelta(), timedelta(hours=2), timedelta(days=3)):
        for value in ("this", "that"):
            event_of = event(ago=ago, total_tokens=7, **{name: value})
            store(clickhouse_client, event_of)

    assert 21 == usage.totals("week", **{name: "this"}).total_tokens
    assert 0 == usage.totals("week", **{name: "th's \\ {x:String}"}).requests


@pytest.mark.parametrize(("keys", "truncated"), [(200, False), (210, True)])
@pytest.mark.parametrize("user", [None, "u-1"])
def test_a_limit_that_cuts_rows_is_reported(
    usage: UsageQueries, clickhouse_client: "Client", keys: int, truncated: bool, user: str | None
) -> None:
    """T-23: 210 keys give 200 rows, the most tokens first, and say so; 200 keys do not."""
    store(clickhouse_client, *[keyed("u-1", f"k-{n:03}", n) for n in range(keys)])

    answer = usage.by_key(user_id=user)

    assert (200, truncated) == (len(answer.rows), answer.truncated)
    assert [*range(keys - 1, keys - 201, -1)] == [row.total_tokens for row in answer.rows]
    assert 200 == DEFAULT_ROWS


def test_usage_without_keys_by_user_and_source(
    usage: UsageQueries, clickhouse_client: "Client"
) -> None:
    """T-23c: the most tokens first; requests with a key are in `by_key`, so both add up."""
    store(
        clickhouse_client,
        event("alice", total_tokens=30),
        event("bob", total_tokens=70, user_name="Bob"),
        event("legacy-api-key", source="legacy", total_tokens=10),
        keyed("bob", "k1", 5),
    )

    rows = usage.by_user_source().rows

    assert [("bob", "web", 70), ("alice", "web", 30), ("legacy-api-key", "legacy", 10)] == [
        (row.user_id, row.source, row.total_tokens) for row in rows
    ]
    assert "Bob" == rows[0].user_name
    keys = sum(row.total_tokens for row in usage.by_key().rows)
    assert usage.totals().total_tokens == keys + sum(row.total_tokens for row in rows)


def test_an_unknown_period_is_refused(usage: UsageQueries) -> None:
    """T-23e: it is not read as a month."""
    with pytest.raises(WrongUseError, match="no period 'decade'"):
        usage.totals("decade")  # type: ignore[arg-type]


def test_costs_are_exact_and_unknown_ones_are_counted(
    usage: UsageQueries, clickhouse_client: "Client"
) -> None:
    """A trillionth added to a large sum is not lost, and an unknown cost is not 0."""
    dear, cheap = Decimal("999999999.999999999999"), Decimal("0.000000000001")
    for ago in (timedelta(), timedelta(hours=2), timedelta(days=3)):
        store(clickhouse_client, *(event(ago=ago, cost=cost) for cost in (dear, cheap, None)))

    total = usage.totals("week")

    assert (3 * (dear + cheap), 3, 9) == (total.cost, total.unpriced_requests, total.requests)
    assert '"cost":"3000000000.000000000000"' in total.model_dump_json()


def test_nothing_is_an_answer(usage: UsageQueries) -> None:
    """No usage gives zeros and no rows, and the range that was asked for."""
    span = TimeRange(NOW - timedelta(days=1), NOW)

    total = usage.totals(span)

    assert (0, 0, Decimal(0)) == (total.requests, total.total_tokens, total.cost)
    assert (span.start, span.end) == (total.start, total.end)
    assert ((), False) == (usage.by_key(span).rows, usage.by_key(span).truncated)
    assert '{"from":"2026-05-20T14:30:12.345000Z","to":' in usage.by_key(span).model_dump_json()


def test_rows_of_the_same_tokens_have_one_order(
    usage: UsageQueries, clickhouse_client: "Client"
) -> None:
    """More requests come first, then ids by the alphabet."""
    store(clickhouse_client, *[event(model=model) for model in "badc"], event(model="d"))

    assert ["d", "a", "b", "c"] == [row.model for row in usage.by_model().rows]


def test_the_other_dimensions(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """Each roll-up has its own word."""
    store(clickhouse_client, event(model="m", provider="p", team_id="t", customer_id="c"))

    assert ["m"] == [row.model for row in usage.by_model().rows]
    assert ["p"] == [row.provider for row in usage.by_provider().rows]
    assert ["t"] == [row.team_id for row in usage.by_team().rows]
    assert ["c"] == [row.customer_id for row in usage.by_customer().rows]


def test_hostile_names_come_back_as_they_are(
    usage: UsageQueries, clickhouse_client: "Client"
) -> None:
    """T-64: quotes, line ends, emoji and SQL in ids and names, through parameters and back."""
    names = ["'; DROP TABLE usage_events; --", "a\nb\tc\\n", "\N{PILE OF POO}" * 256, "{x:String}"]
    for name in names:
        store(clickhouse_client, keyed(name, name[:256], 1, user_name=name, api_key_name=name))

    rows = usage.by_key().rows

    assert {(name, name, name) for name in names} == {
        (row.api_key_id, row.api_key_name, row.user_name) for row in rows
    }
    assert [1] * 4 == [usage.totals(user_id=name).requests for name in names]


@pytest.mark.parametrize("limit", [0, -1, 1_000_001])
def test_a_limit_out_of_bounds_is_refused(usage: UsageQueries, limit: int) -> None:
    """It is refused, and not silently replaced by another."""
    with pytest.raises(WrongUseError, match=f"the limit is {limit}"):
        usage.by_key(limit=limit)


def test_missing_tables_are_an_error(clickhouse_client: "Client") -> None:
    """T-23h: the error says what to run."""
    with pytest.raises(MigrationError, match=r"a table is missing. Run usagepipe migrate."):
        UsageQueries(clickhouse_client).totals()


@pytest.mark.usefixtures("migrated")
def test_a_query_that_fails_is_an_error_and_never_zeros(clickhouse_client: "Client") -> None:
    """T-23h: an error of the store is raised."""
    clickhouse_client.command("ALTER TABLE rollup_usage_1d DROP COLUMN requests")

    with pytest.raises(UsagePipeError, match="a column is missing"):
        UsageQueries(clickhouse_client).totals("all")


def test_a_store_that_is_away_is_an_error() -> None:
    """T-23h: an unreachable server is not zero usage."""
    with pytest.raises(ServerUnavailableError):
        UsageQueries.connect(f"http://127.0.0.1:{lasting_port()}/usage")


def test_a_url_is_enough(migrated: ClickHouseAddress) -> None:
    """A script needs no settings."""
    with UsageQueries.connect(url_of(migrated)) as usage:
        assert 0 == usage.totals().requests

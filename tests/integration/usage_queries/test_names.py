"""Names of keys and users in the answers: the one that arrived last counts."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tests.support.past_usage import NOW, keyed
from tests.support.stored_events import insert_rows, rows_of, store
from usagepipe.query import UsageQueries
from usagepipe.schemas import UsageEvent

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def test_a_key_that_is_gone_stays_with_its_name(
    usage: UsageQueries, clickhouse_client: "Client"
) -> None:
    """T-23b: the name is what the events said, and the last use is that of the last request."""
    store(
        clickhouse_client,
        keyed("alice", "k1", 1, api_key_name="laptop", ago=timedelta(hours=3)),
        keyed("alice", "k1", 1, api_key_name="laptop", ago=timedelta(minutes=2)),
    )

    (row,) = usage.by_key().rows

    assert ("laptop", NOW - timedelta(minutes=2)) == (row.api_key_name, row.last_used)


def arrive(client: "Client", when: datetime, *events: UsageEvent) -> None:
    insert_rows(client, rows_of(events, ingested_at=when.isoformat()))


def test_a_renamed_key_is_one_row(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """T-23d: with the name that arrived last; an event without a name changes none."""
    store(clickhouse_client, keyed("u", "k1", 1, api_key_name="old", user_name="Ann A."))
    store(clickhouse_client, keyed("u", "k1", 1, api_key_name="new", user_name="Ann B."))
    store(clickhouse_client, keyed("u", "k1", 1))

    (row,) = usage.by_key().rows

    assert ("new", "Ann B.", 3) == (row.api_key_name, row.user_name, row.requests)
    assert ["Ann B."] == [row.user_name for row in usage.by_user().rows]


def test_of_one_millisecond_the_last_name_counts(
    usage: UsageQueries, clickhouse_client: "Client"
) -> None:
    """The order in the log decides, not the names, in one insert and in several."""
    names = ["m", "z", "a", "k"]
    arrive(clickhouse_client, NOW, *(keyed("u", "k1", 1, api_key_name=name) for name in names))
    for name in names:
        arrive(clickhouse_client, NOW, keyed("u", "k2", 1, api_key_name=name))

    assert ["k", "k"] == [row.api_key_name for row in usage.by_key().rows]


def test_a_name_from_the_future_never_wins(
    usage: UsageQueries, clickhouse_client: "Client"
) -> None:
    """Neither when it came first nor when it came last; alone it is better than none."""
    ahead = NOW.replace(year=2099)
    future = {"api_key_name": "future", "occurred_at": ahead}
    for key, names in {"first": (future, {}), "last": ({}, future), "only": (future,)}.items():
        for given in names:
            fields = {"api_key_name": "right", **given}
            arrive(clickhouse_client, NOW, keyed("u", key, 1, **fields))

    found = {row.api_key_id: row.api_key_name for row in usage.by_key("all").rows}
    assert {"first": "right", "last": "right", "only": "future"} == found


def test_arrival_decides_among_past_times(usage: UsageQueries, clickhouse_client: "Client") -> None:
    """Clocks of web processes differ by minutes; what is older than a day is history."""
    hours = timedelta(hours=1)
    early = keyed("u", "k1", 1, api_key_name="first", ago=hours)
    late = keyed("u", "k1", 1, api_key_name="second", ago=2 * hours)
    history = keyed("u", "k1", 1, api_key_name="imported", ago=100 * 24 * hours)
    for place, each in enumerate((early, late, history)):
        arrive(clickhouse_client, NOW + timedelta(seconds=place), each)

    assert ["second"] == [row.api_key_name for row in usage.by_key("all").rows]


def test_a_key_of_several_users_is_one_row(
    usage: UsageQueries, clickhouse_client: "Client"
) -> None:
    """It shows who used it last, and how many did."""
    store(
        clickhouse_client,
        keyed("alice", "k1", 10, ago=timedelta(days=2)),
        keyed("bob", "k1", 5, ago=timedelta(hours=1)),
    )

    (row,) = usage.by_key().rows

    assert ("bob", 2, 15) == (row.user_id, row.users, row.total_tokens)

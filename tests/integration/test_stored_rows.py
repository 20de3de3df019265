"""What the worker reads of the raw table: stored offsets, and the copies of events."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid1, uuid4

import pytest
from clickhouse_connect.driver.client import Client

from tests.support.stored_events import insert_rows, rows_of
from usagepipe.consumer.clickhouse.stored import StoredEvent, StoredRows, events_query
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.settings import ClickHouseAddress

HORIZON = 35  # days
_PLACES = itertools.count()


@pytest.fixture
def stored(migrated: ClickHouseAddress) -> Iterator[StoredRows]:
    rows = StoredRows(migrated, seconds=30)
    yield rows
    rows.close()


def uuid7_at(moment: datetime, tail: int) -> str:
    """A UUIDv7 of that moment."""
    milliseconds = int(moment.timestamp() * 1000)
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | tail))


def store_ids(
    client: Client, *ids: str, topic_id: str = "a-topic", arrived: datetime | None = None
) -> list[StoredEvent]:
    """Stores an event of each id; the copies a look-up finds of them."""
    events = [UsageEvent.new(event_id=UUID(id_), user_id="u-1") for id_ in ids]
    places = [next(_PLACES) for _ in ids]
    when = (arrived or datetime.now(UTC)).isoformat()
    rows = (
        rows_of([event], kafka_offset=place, kafka_topic_id=topic_id, ingested_at=when)
        for event, place in zip(events, places, strict=True)
    )
    insert_rows(client, b"\n".join(rows))
    return [StoredEvent(id_, topic_id, 0, place) for id_, place in zip(ids, places, strict=True)]


def store_offsets(client: Client, *offsets: int, partition: int = 0) -> None:
    for offset in offsets:
        insert_rows(
            client,
            rows_of(
                [UsageEvent.new(user_id="u-1")], kafka_offset=offset, kafka_partition=partition
            ),
        )


def test_ids_that_are_stored_are_found_where_they_stand(
    stored: StoredRows, clickhouse_client: Client
) -> None:
    """Each stored id with its coordinates; nothing of those that are not stored."""
    live = [uuid7_at(datetime.now(UTC), tail) for tail in range(300)]
    kept = store_ids(clickhouse_client, *live[::3])

    found = stored.events(live, HORIZON)

    assert kept == sorted(found, key=lambda copy: copy.offset)


def test_ids_of_any_age_and_version_are_found(
    stored: StoredRows, clickhouse_client: Client
) -> None:
    """A batch may hold live ids, late ones, and random ones of other producers."""
    now = datetime.now(UTC)
    late = [uuid7_at(now - timedelta(days=days), days) for days in range(0, 300, 7)]
    edges = [str(UUID(int=0)), str(UUID(int=2**128 - 1))]
    mixed = [*late, *edges, *(str(uuid4()) for _ in range(50)), uuid7_at(now, 1)]
    kept = store_ids(clickhouse_client, *mixed)
    strangers = [str(uuid4()) for _ in range(50)]

    found = stored.events(strangers + mixed[::-1], HORIZON)

    assert kept == sorted(found, key=lambda copy: copy.offset)


def test_each_row_of_an_id_is_found(stored: StoredRows, clickhouse_client: Client) -> None:
    """An id in several topics or places is returned with all of them."""
    (id_,) = ids = [uuid7_at(datetime.now(UTC), 1)]
    kept = store_ids(clickhouse_client, id_) + store_ids(clickhouse_client, id_, topic_id="b")

    assert sorted(kept) == sorted(stored.events(ids, HORIZON))


def test_rows_that_arrived_before_the_horizon_are_not_found(
    stored: StoredRows, clickhouse_client: Client
) -> None:
    """The horizon counts from the arrival in the log, not from the time in the id."""
    now = datetime.now(UTC)
    old, late = (uuid7_at(now - timedelta(days=90), tail) for tail in (1, 2))
    store_ids(clickhouse_client, old, arrived=now - timedelta(days=HORIZON + 1))
    kept = store_ids(clickhouse_client, late, arrived=now - timedelta(days=HORIZON - 1))

    assert kept == stored.events([old, late], HORIZON)


@pytest.mark.parametrize(
    "made",
    [
        lambda n: str(uuid1(node=1, clock_seq=1)),
        lambda n: str(UUID(int=n)),
        lambda n: str(UUID(int=n << 96)),
        lambda n: uuid7_at(datetime(2026, 1, 1, tzinfo=UTC), n),
    ],
    ids=["v1", "numbers", "high numbers", "one moment"],
)
def test_ids_that_differ_in_few_bits_are_different(
    made: Callable[[int], str], stored: StoredRows, clickhouse_client: Client
) -> None:
    """The fingerprint that is looked for is not the id."""
    ids = [made(n) for n in range(1_000)]
    kept = store_ids(clickhouse_client, *ids[::2])

    found = stored.events(ids[:500] + ids[501::2], HORIZON)

    assert kept[:250] == sorted(found, key=lambda copy: copy.offset)


def test_rows_that_only_share_a_fingerprint_are_not_copies(
    stored: StoredRows, clickhouse_client: Client
) -> None:
    """Two ids whose words cancel out alike: the answer is held against the ids themselves."""
    moment = datetime.now(UTC)
    sought, other = uuid7_at(moment, 5 << 32 | 1), uuid7_at(moment, 1 << 32 | 5)
    store_ids(clickhouse_client, other)

    assert [] == stored.events([sought], HORIZON)


def test_look_up_of_live_ids_leaves_the_rest_of_the_table_unread(
    stored: StoredRows, clickhouse_client: Client
) -> None:
    """The index on the bytes of the id serves the condition that is asked."""
    month_ago = datetime.now(UTC) - timedelta(days=20)
    store_ids(clickhouse_client, *(uuid7_at(month_ago, tail) for tail in range(1_000)))
    ids = [uuid7_at(datetime.now(UTC), tail) for tail in range(100)]

    plan = clickhouse_client.command(f"EXPLAIN indexes = 1 {events_query(ids, HORIZON)}")

    assert "event_id_span" in str(plan)
    assert "Granules: 0/" in str(plan)


def test_no_ids_have_no_copies(stored: StoredRows) -> None:
    """An empty batch asks nothing."""
    assert [] == stored.events([], HORIZON)


def test_a_full_batch_is_looked_up_at_once(stored: StoredRows, clickhouse_client: Client) -> None:
    """50,000 ids are more text than ClickHouse's own limit on a query."""
    ids = [uuid7_at(datetime.now(UTC), tail) for tail in range(50_000)]
    kept = store_ids(clickhouse_client, ids[0], ids[-1])

    assert kept == sorted(stored.events(ids, HORIZON), key=lambda copy: copy.offset)


def test_places_of_a_range_end_with_it(stored: StoredRows, clickhouse_client: Client) -> None:
    """Both ends belong to the range; other partitions and topics do not."""
    store_offsets(clickhouse_client, 9, 3, 5, 4, 10, 2)
    store_offsets(clickhouse_client, 6, partition=1)

    found = stored.places("a-topic", 0, 3, 9)

    assert [3, 4, 5, 9] == sorted(place.offset for place in found)
    assert frozenset() == stored.places("another", 0, 3, 9)


def test_two_events_at_one_offset_are_two_places(
    stored: StoredRows, clickhouse_client: Client
) -> None:
    """A log that lost its end gives the same offset twice; to whom, the row says."""
    store_offsets(clickhouse_client, 7, 7)

    assert 2 == len(stored.places("a-topic", 0, 0, 100))


def test_last_offset_is_the_greatest_from_a_bound_on(
    stored: StoredRows, clickhouse_client: Client
) -> None:
    """None means that no row follows; 0 is an offset."""
    store_offsets(clickhouse_client, 0, 5, 12)

    assert 12 == stored.last_offset("a-topic", 0, 0)
    assert 12 == stored.last_offset("a-topic", 0, 12)
    assert None is stored.last_offset("a-topic", 0, 13)
    assert None is stored.last_offset("another", 0, 0)


def test_offset_zero_alone_is_the_last(stored: StoredRows, clickhouse_client: Client) -> None:
    """The maximum of nothing is 0 to ClickHouse too."""
    store_offsets(clickhouse_client, 0)

    assert 0 == stored.last_offset("a-topic", 0, 0)

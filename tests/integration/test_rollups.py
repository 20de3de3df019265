"""Rollups that were damaged on purpose are found and rebuilt, also while events come in."""

import json
import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from clickhouse_connect.driver.exceptions import Error

from tests.support.stored_events import rows_of, store
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.rollups.comparison_sql import UnsettledOffsets
from usagepipe.consumer.rollups.raw_retention import raw_complete_from
from usagepipe.consumer.rollups.rebuild import rebuild_rollups
from usagepipe.consumer.rollups.tables import RollupTables
from usagepipe.consumer.rollups.verification import find_differences
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.clickhouse.client import error_code
from usagepipe.schemas.errors import RollupsBusyError
from usagepipe.schemas.event import EARLIEST, LATEST
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Result = TypeVar("Result")
UNKNOWN_STATUS_OF_INSERT = 319
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
NEXT = NOON + timedelta(minutes=15)
QUARTERS, DAYS = "rollup_usage_15m", "rollup_usage_1d"
SUMS = "sum(requests), sum(prompt_tokens), sum(total_tokens), sum(cost), sum(unpriced_requests)"


def event(user: str = "u-1", at: datetime = NOON, **fields: Any) -> UsageEvent:
    given: dict[str, Any] = {
        "prompt_tokens": 3,
        "total_tokens": 5,
        "cost": Decimal("0.000000000007"),
    } | fields
    return UsageEvent(event_id=uuid.uuid4(), occurred_at=at, user_id=user, **given)


@dataclass
class Rollups:
    """Verification and rebuild of one test's tables."""

    address: InitVar[ClickHouseAddress]

    def __post_init__(self, address: ClickHouseAddress) -> None:
        tables = RollupTables(address, 30)
        self.differences = partial(find_differences, tables, wait_seconds=30)
        self.rebuild = partial(rebuild_rollups, tables)
        self.close = tables.close


@pytest.fixture
def rollups(migrated: ClickHouseAddress) -> Iterator[Rollups]:
    with closing(Rollups(migrated)) as rollups:
        yield rollups


def sums(client: "Client", table: str) -> tuple[Any, ...]:
    (row,) = client.query(f"SELECT {SUMS} FROM {table}").result_rows
    return tuple(row)


def raw_sums(client: "Client") -> tuple[Any, ...]:
    (row,) = client.query(
        "SELECT countIf(part = 0), sum(prompt_tokens), sum(total_tokens), sum(cost),"
        " countIf(cost IS NULL) FROM usage_events"
    ).result_rows
    return tuple(row)


def break_extra(client: "Client", table: str, user: str = "u-1", requests: int = 2) -> None:
    client.command(
        f"INSERT INTO {table} (bucket, user_id, source, requests, total_tokens, cost)"
        f" VALUES ('2026-01-15 00:00:00', '{user}', 'web', {requests}, 9, 1.5)"
    )


def break_missing(client: "Client", table: str, condition: str = "1") -> None:
    client.command(f"DELETE FROM {table} WHERE {condition}")


def test_rollups_that_equal_raw_do_not_differ(
    rollups: Rollups, clickhouse_client: "Client"
) -> None:
    """If every sum equals that of the raw rows, there is no difference and nothing to rebuild."""
    store(clickhouse_client, event(), event(cost=None), event("u-2", NEXT))

    assert [] == rollups.differences(EARLIEST, LATEST)
    assert 0 == rollups.rebuild(EARLIEST, LATEST, 5)


def test_parts_of_a_request_add_tokens_and_cost_but_no_request(
    rollups: Rollups, clickhouse_client: "Client"
) -> None:
    """A call of another model inside an answer is no request of its own, nor a failure."""
    store(clickhouse_client, event(model="a"), event(model="b", part=1, failed=True))
    store(clickhouse_client, event(model="b", part=2, cost=None))

    for table in (QUARTERS, DAYS):
        assert (1, 9, 15, Decimal("0.000000000014"), 1) == sums(clickhouse_client, table)
        (failures,) = clickhouse_client.query(f"SELECT sum(failures) FROM {table}").result_rows
        assert (0,) == tuple(failures)
    assert [] == rollups.differences(EARLIEST, LATEST)


def test_a_failed_request_that_used_other_units_than_tokens_has_a_price(
    rollups: Rollups, clickhouse_client: "Client"
) -> None:
    """It counts as unpriced while it has none. One that used nothing has nothing to price."""
    none: dict[str, Any] = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0)
    for units in ({}, {"images": 0}, {"images": 2}):
        failed = event(failed=True, cost=None, **none, units=units)
        store(clickhouse_client, failed)

    for table in (QUARTERS, DAYS):
        names = "sum(unpriced_requests), sum(failures_without_usage)"
        assert [(3, 2)] == clickhouse_client.query(f"SELECT {names} FROM {table}").result_rows
    assert [] == rollups.differences(EARLIEST, LATEST)


def test_a_difference_names_bucket_key_and_what_is_missing(
    rollups: Rollups, clickhouse_client: "Client"
) -> None:
    """A key that lost a row in a rollup is listed with raw minus rollup of each column."""
    store(clickhouse_client, event("u-1"), event("u-2"))
    break_missing(clickhouse_client, QUARTERS, "user_id = 'u-2'")

    (quarter,) = rollups.differences(NOON, NEXT)

    assert (QUARTERS, NOON, "u-2") == (quarter.table, quarter.bucket, quarter.key["user_id"])
    assert {
        "requests": 1,
        "prompt_tokens": 3,
        "total_tokens": 5,
        "cost": Decimal("0.000000000007"),
    } == quarter.missing


@pytest.mark.parametrize("table", [QUARTERS, DAYS])
@pytest.mark.parametrize("whole", [False, True])
def test_what_a_rollup_lost_is_added(
    rollups: Rollups, clickhouse_client: "Client", table: str, whole: bool
) -> None:
    """Rows that a rollup lost, one key's or all, are rebuilt from raw, null costs too."""
    store(clickhouse_client, event("u-1"), event("u-2", cost=None), event("u-1", NEXT))
    break_missing(clickhouse_client, table, "1" if whole else "user_id = 'u-2'")

    rollups.rebuild(EARLIEST, LATEST, 10)

    assert raw_sums(clickhouse_client) == sums(clickhouse_client, QUARTERS)
    assert raw_sums(clickhouse_client) == sums(clickhouse_client, DAYS)
    unpriced = clickhouse_client.query(f"SELECT sum(cost) FROM {table} WHERE user_id = 'u-2'")
    assert [(None,)] == unpriced.result_rows


@pytest.mark.parametrize("table", [QUARTERS, DAYS])
@pytest.mark.parametrize("user", ["u-1", "nobody"])
def test_what_a_rollup_has_too_much_is_taken_off(
    rollups: Rollups, clickhouse_client: "Client", table: str, user: str
) -> None:
    """Sums that are too large get a row below zero, which wraps, before and after a merge."""
    store(clickhouse_client, event("u-1"))
    break_extra(clickhouse_client, table, user)

    rollups.rebuild(EARLIEST, LATEST, 10)

    before = [sums(clickhouse_client, each) for each in (QUARTERS, DAYS)]
    for each in (QUARTERS, DAYS):
        clickhouse_client.command(f"OPTIMIZE TABLE {each} FINAL")
    assert [raw_sums(clickhouse_client)] * 2 == before
    assert before == [sums(clickhouse_client, each) for each in (QUARTERS, DAYS)]


def test_the_same_damage_again_is_repaired_again(
    rollups: Rollups, clickhouse_client: "Client"
) -> None:
    """A second rebuild with equal content is not dropped as a duplicate of the first."""
    store(clickhouse_client, event())
    for _ in range(2):
        break_missing(clickhouse_client, QUARTERS)
        rollups.rebuild(NOON, NEXT, 10)

    assert raw_sums(clickhouse_client) == sums(clickhouse_client, QUARTERS)


def test_only_the_given_range_is_rebuilt(rollups: Rollups, clickhouse_client: "Client") -> None:
    """Buckets outside the range do not change."""
    store(clickhouse_client, event(at=NOON), event(at=NEXT))
    break_missing(clickhouse_client, QUARTERS)

    rebuilt = rollups.rebuild(NOON + timedelta(minutes=1), NOON + timedelta(minutes=2), 10)

    rows = clickhouse_client.query(f"SELECT DISTINCT bucket FROM {QUARTERS}").result_rows
    assert [(NOON,)] == rows
    assert rebuilt > 0


def test_keys_of_an_insert_that_may_be_repeated_are_left(
    rollups: Rollups, clickhouse_client: "Client"
) -> None:
    """Raw rows that are not acknowledged may lack their views until their insert is repeated."""
    clickhouse_client.raw_insert(
        "usage_events",
        insert_block=rows_of([event()], kafka_partition=3, kafka_offset=70),
        fmt="JSONEachRow",
        settings={"date_time_input_format": "best_effort"},
    )
    break_missing(clickhouse_client, QUARTERS)
    waiting, settled = ([UnsettledOffsets("a-topic", 3, first)] for first in (70, 71))

    with pytest.raises(RollupsBusyError, match="rollup_usage_15m from 2026-01-15"):
        rollups.rebuild(NOON, NEXT, 0.5, unsettled=lambda: waiting)
    assert rollups.rebuild(NOON, NEXT, 10, unsettled=lambda: settled) > 0


def test_what_raw_no_longer_keeps_is_not_wiped_out(
    rollups: Rollups, clickhouse_client: "Client"
) -> None:
    """A bucket whose raw rows have left by their retention holds the only record of its usage."""
    now = datetime.now(UTC)
    store(clickhouse_client, event(at=NOON), event(at=now))
    (made,) = clickhouse_client.query("SELECT * FROM usagepipe_migrations LIMIT 1").result_rows
    clickhouse_client.insert("usagepipe_migrations", [[*made[:-1], NOON]])
    clickhouse_client.command(
        "ALTER TABLE usage_events MODIFY TTL toDate(stored_at) + toIntervalDay(1 + 30)"
    )
    clickhouse_client.command("DELETE FROM usage_events WHERE occurred_at < '2026-02-01'")

    assert [] == rollups.differences(EARLIEST, LATEST)
    assert 0 == rollups.rebuild(EARLIEST, LATEST, 5)
    assert 2 == sums(clickhouse_client, QUARTERS)[0]


def test_a_young_table_is_compared_whatever_its_events_age(
    rollups: Rollups, clickhouse_client: "Client"
) -> None:
    """Imported history is older than the retention, but nothing of it can have left yet."""
    store(clickhouse_client, event(at=datetime(2020, 1, 1, tzinfo=UTC)))
    break_missing(clickhouse_client, DAYS)

    assert raw_complete_from(clickhouse_client) is None
    assert 1 == rollups.rebuild(EARLIEST, LATEST, 5)


def body(offset: int, rows: int, partition: int) -> bytes:
    made = []
    for number in range(rows):
        fields = event(f"u-{random.randrange(40)}", NOON + timedelta(minutes=number % 60))
        made.append(
            fields.model_dump(mode="json", exclude_defaults=True)
            | {
                "kafka_topic": "t",
                "kafka_topic_id": "x",
                "kafka_partition": partition,
                "kafka_offset": offset + number,
                "batch_epoch": 0,
                "ingested_at": "2026-01-15 12:00:00.000",
            }
        )
    return b"\n".join(json.dumps(row).encode() for row in made)


def again(action: Callable[[], Result]) -> Result:
    """Repeat what the engine could not decide: its errors are all statements' at once."""
    while True:
        try:
            return action()
        except Error as error:
            if error_code(error) != UNKNOWN_STATUS_OF_INSERT:
                raise


def test_concurrent_rebuilds_while_events_come_in_end_in_equal_sums(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """Inserts, damage and two rebuilds at once: one rebuild at the end makes the sums exact."""
    store(clickhouse_client, event())
    over = Event()
    writer = Writer(migrated, 30)

    def insert(partition: int) -> None:
        offset = 0
        while not over.is_set():
            block, token = body(offset, 300, partition), f"{partition}:{offset}"
            again(partial(writer.insert, block, token))
            offset += 300
            over.wait(0.05)

    def rebuild() -> int:
        rollups, rebuilt = Rollups(migrated), 0
        while not over.is_set():
            with suppress(RollupsBusyError):
                rebuilt += again(partial(rollups.rebuild, EARLIEST, LATEST, 1))
            over.wait(0.05)
        rollups.close()
        return rebuilt

    def damage() -> None:
        for number in range(6):
            missing, extra = (QUARTERS, DAYS) if number % 2 else (DAYS, QUARTERS)
            again(partial(break_missing, clickhouse_client, missing, f"user_id = 'u-{number}'"))
            again(partial(break_extra, clickhouse_client, extra, f"u-{number}"))
            over.wait(0.2)

    with ThreadPoolExecutor() as threads:
        running: list[Future[Any]] = [threads.submit(insert, 0), threads.submit(insert, 1)]
        running += [threads.submit(rebuild), threads.submit(rebuild)]
        try:
            damage()
        finally:
            over.set()
        for each in running:
            each.result()
    rollups = Rollups(migrated)
    rollups.rebuild(EARLIEST, LATEST, 20)

    assert [] == rollups.differences(EARLIEST, LATEST)
    assert raw_sums(clickhouse_client) == sums(clickhouse_client, QUARTERS)
    assert raw_sums(clickhouse_client) == sums(clickhouse_client, DAYS)
    rollups.close()
    writer.close()


def test_a_rollup_of_many_keys_is_filled_again(
    rollups: Rollups, clickhouse_client: "Client"
) -> None:
    """A statement with thousands of keys is longer than the text that a server shows of a running
    query: its marker must be in that text, or every rebuild would insert nothing.
    """
    store(clickhouse_client, *(event(f"u-{number}") for number in range(6_000)))
    for table in (QUARTERS, DAYS):
        clickhouse_client.command(f"TRUNCATE TABLE {table}")

    rebuilt = rollups.rebuild(EARLIEST, LATEST, 30)

    # The days are fed by what is added to the quarters.
    assert 6_000 == rebuilt
    assert raw_sums(clickhouse_client) == sums(clickhouse_client, QUARTERS)
    assert raw_sums(clickhouse_client) == sums(clickhouse_client, DAYS)


def test_a_rebuild_that_inserts_nothing_ends(
    rollups: Rollups, clickhouse_client: "Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the server inserts nothing, the rebuild ends with an error at its deadline."""
    store(clickhouse_client, event())
    break_missing(clickhouse_client, QUARTERS)
    monkeypatch.setattr(RollupTables, "insert", lambda *_: None)

    with pytest.raises(RollupsBusyError):
        rollups.rebuild(NOON, NEXT, 0.5)

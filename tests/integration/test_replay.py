"""`usagepipe replay` stores missing events and changes nothing else, also when it runs again."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.commands import usagepipe
from tests.support.events import NOON, event
from tests.support.stored_log import commit_log, store_log, write_dead_letter
from tests.support.topics import send
from usagepipe.consumer.maintenance import replay as replay_module
from usagepipe.consumer.maintenance.replay import Replayer
from usagepipe.consumer.maintenance.replay_plan import ReplayRequest
from usagepipe.consumer.topics.group_offsets import GroupOffsets
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

EVENTS = 60
TABLES = ("rollup_usage_15m", "rollup_usage_1d")


@pytest.fixture
def world(
    settings: Callable[..., Settings], migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> Settings:
    """A topic of events, a group and tables of this test's own; nothing is stored."""
    made = settings()
    send(made.kafka, made.topic, [encode(numbered(number)) for number in range(EVENTS)])
    return made


def numbered(number: int) -> UsageEvent:
    moment = NOON + timedelta(hours=number)
    return event(occurred_at=moment, user_id=f"u-{number % 5}", total_tokens=number)


def replay(settings: Settings, *arguments: str) -> str:
    """What it prints."""
    ended = usagepipe(settings, "replay", *arguments)
    return ended.out + ended.err


def state(client: "Client") -> list[Any]:
    """Rows and sums of all tables."""
    sums = [client.query("SELECT count(), sum(total_tokens) FROM usage_events").first_row]
    for table in TABLES:
        sums += client.query(
            f"SELECT bucket, user_id, sum(requests), sum(total_tokens) FROM {table}"
            " GROUP BY ALL HAVING sum(requests) != 0 ORDER BY ALL"
        ).result_rows
    return sums


def test_a_replay_of_a_whole_topic_changes_no_sum_and_adds_what_is_missing(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """T-60: known events change nothing, missing ones are added in their original bucket."""
    store_log(world)
    commit_log(world)
    whole = state(clickhouse_client)

    known = replay(world)

    assert whole == state(clickhouse_client)
    assert "60 were stored" in known
    clickhouse_client.command("DELETE FROM usage_events WHERE user_id = 'u-3'")
    for table in TABLES:
        clickhouse_client.command(f"DELETE FROM {table} WHERE user_id = 'u-3'")
    assert "12 stored now" in replay(world)
    assert whole == state(clickhouse_client)


def test_into_empty_tables_a_replay_brings_everything_and_a_second_one_nothing(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """The second run of a replay finds all of it stored."""
    commit_log(world)

    first, filled, second = replay(world), state(clickhouse_client), replay(world)

    assert (EVENTS, sum(range(EVENTS))) == filled[0]
    assert "60 stored now" in first
    assert "60 were stored" in second
    assert filled == state(clickhouse_client)


def test_rows_that_left_raw_alone_are_not_counted_twice_in_the_rollups(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """Where the rollups still had the events, they have them once afterwards."""
    store_log(world)
    commit_log(world)
    whole = state(clickhouse_client)
    clickhouse_client.command("DELETE FROM usage_events WHERE user_id = 'u-1'")

    replay(world)

    assert whole == state(clickhouse_client)


def test_the_same_rows_deleted_again_are_stored_again(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """A token that the server remembers of rows that were deleted does not stop the replay."""
    commit_log(world)
    replay(world)
    whole = state(clickhouse_client)
    for _ in range(2):
        clickhouse_client.command("DELETE FROM usage_events WHERE user_id = 'u-1'")
        replay(world)

    assert whole == state(clickhouse_client)


def test_a_replay_that_ended_between_rows_and_views_is_healed_by_the_next(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """Rows of an earlier replay may lack their views: the rollups of their days are compared."""
    commit_log(world)
    replay(world)
    whole = state(clickhouse_client)
    clickhouse_client.command("DELETE FROM rollup_usage_15m WHERE user_id = 'u-2'")
    clickhouse_client.command("DELETE FROM rollup_usage_1d WHERE user_id = 'u-2'")

    replay(world)

    assert whole == state(clickhouse_client)


def test_what_the_workers_have_not_committed_is_theirs(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """A replay ends at the workers' committed offset and says so; without one it ends at once."""
    assert "0 records" in replay(world)
    commit_log(world, short_by=3)
    reported = replay(world)

    behind = GroupOffsets(world, world.group)
    committed = behind.read(world.topic, range(4))
    behind.close()
    assert sum(each.offset for each in committed.values()) == state(clickhouse_client)[0][0]
    assert f"the workers ({world.group}) will store the rest" in reported


def test_a_record_that_has_a_dead_letter_is_left(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """What ClickHouse refused once would be refused again, and its whole batch with it."""
    commit_log(world)
    with closing(LogReader(world, world.topic)) as log:
        topic_id = log.topic_id()
        partition = next(number for number in log.partitions if log.span(number)[1])
    write_dead_letter(world, topic_id, partition, 0)

    reported = replay(world)

    assert "1 are dead letters, 59 stored now" in reported
    assert 59 == state(clickhouse_client)[0][0]


def test_a_dry_run_counts_and_changes_nothing(world: Settings, clickhouse_client: "Client") -> None:
    """--dry-run reports how many would be stored, and changes neither tables nor progress."""
    commit_log(world)

    reported = replay(world, "--dry-run")

    assert "60 would be stored" in reported
    assert (0, 0) == state(clickhouse_client)[0]
    assert "60 stored now" in replay(world)


def test_a_part_is_chosen_by_offsets_or_by_time(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """Offsets need a partition; moments are those of the records' arrival."""
    send(world.kafka, world.topic, [encode(numbered(7)) for _ in range(10)], partition=2)
    commit_log(world)

    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert "0 records" in replay(world, "--from", future)
    assert "0 records" in replay(world, "--to", "2020-01-01")
    reported = replay(world, "--partition", "2", "--from-offset", "2", "--to-offset", "5")
    assert "3 stored now" in reported
    offsets = clickhouse_client.query("SELECT kafka_offset FROM usage_events ORDER BY 1")
    assert [(2,), (3,), (4,)] == offsets.result_rows
    with pytest.raises(WrongUseError, match="need --partition"):
        replay(world, "--from-offset", "2")


def test_progress_is_kept_in_another_group_and_an_interrupted_replay_goes_on(
    world: Settings, clickhouse_client: "Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was settled before the interruption is not read again; the workers' offset stays."""
    send(world.kafka, world.topic, [encode(numbered(7)) for _ in range(30)], partition=1)
    commit_log(world)
    monkeypatch.setattr(replay_module, "REBUILD_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("usagepipe.consumer.maintenance.log_records.BATCH_RECORDS", 10)
    request = ReplayRequest(partition=1)
    first = Replayer(world, f"{world.group}.replay", 5)
    (part,) = first.plan(request)
    met: list[int] = []

    def interrupt(offsets: int) -> None:
        met.append(offsets)
        if len(met) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run([part], request, on_progress=interrupt)
    first.close()
    second = Replayer(world, f"{world.group}.replay", 5)
    (rest,) = second.plan(request)

    assert (True, 20) == (rest.resumed, rest.first)
    assert [part] == second.plan(ReplayRequest(partition=1, end_offset=part.end))  # another range
    second.run([rest], request)
    assert [part] == second.plan(request)  # ended: the next one starts from the beginning
    second.close()
    stored = clickhouse_client.query("SELECT count(), uniqExact(kafka_offset) FROM usage_events")
    assert (part.end, part.end) == stored.first_row


def test_progress_in_the_workers_group_is_refused(world: Settings) -> None:
    """A replay must never move the workers."""
    with pytest.raises(WrongUseError, match="workers' group"):
        replay(world, "--progress-group", world.group)


def test_a_rate_bounds_how_fast_records_are_replayed(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --rate the records take their time."""
    commit_log(world)
    monkeypatch.setattr("usagepipe.consumer.maintenance.log_records.BATCH_RECORDS", 5)
    started = datetime.now(UTC)

    replay(world, "--rate", "60")

    assert datetime.now(UTC) - started > timedelta(seconds=0.7)

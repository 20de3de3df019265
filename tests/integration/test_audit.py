"""`usagepipe audit` on tables and logs that were damaged in every way it reports."""

import json
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.commands import usagepipe
from tests.support.events import NOON, event
from tests.support.programs import Programs
from tests.support.running_worker import start_worker
from tests.support.stored_log import commit_log, store_log, write_dead_letter
from tests.support.topics import send
from tests.support.waiting import eventually
from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.consumer.maintenance.audit_queries import PRODUCERS_AT_ONCE, AuditQueries
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.errors import UnprovenRawError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from usagepipe.schemas.settings import ClickHouseAddress

EVENTS = 40


def numbered(sequence: int, **fields: Any) -> UsageEvent:
    given: dict[str, Any] = {"producer_id": "p", "user_id": f"u-{sequence % 7}"}
    return event(occurred_at=NOON, sequence=sequence, total_tokens=5, **given | fields)


def values(count: int = EVENTS) -> list[bytes]:
    return [encode(numbered(number)) for number in range(1, count + 1)]


@pytest.fixture(autouse=True)
def short_wait_for_members(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """An audit of a backlog waits for a worker to join: where none does, it need not be long."""
    if "run_program" not in request.fixturenames:
        monkeypatch.setattr("usagepipe.consumer.topics.group_offsets.JOIN_SECONDS", 0.1)


@pytest.fixture
def world(
    settings: Callable[..., Settings], migrated: "ClickHouseAddress", clickhouse_client: "Client"
) -> Settings:
    """A topic, a group and tables of this test's own."""
    return settings()


def audit(settings: Settings, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status, and what it printed as JSON."""
    ended = usagepipe(settings, "audit", "--json", "--wait", "2", *arguments)
    return ended.status, ended.json()


def total(found: dict[str, Any], name: str) -> int:
    """A count over all partitions; of ranges, the offsets they hold."""
    numbers = [each[name] for each in found["partitions"]]
    if numbers and isinstance(numbers[0], int):
        return sum(numbers)
    return sum(last - first + 1 for ranges in numbers for first, last in ranges)


def stored_and_committed(settings: Settings) -> None:
    store_log(settings)
    commit_log(settings)


def test_what_is_stored_whole_balances(world: Settings) -> None:
    """Every offset stored once, every sum right, every sequence whole: exit status 0."""
    send(world.kafka, world.topic, values())
    stored_and_committed(world)

    status, found = audit(world)

    assert (0, True, EVENTS, 0) == (
        status,
        found["balances"],
        total(found, "stored"),
        total(found, "missing"),
    )


def test_the_table_is_readable(world: Settings) -> None:
    """Without --json there is a line for each partition, and a sentence with the answer."""
    send(world.kafka, world.topic, values(), partition=2)
    stored_and_committed(world)

    result = usagepipe(world, "audit")

    rows = [line.replace("│", " ").split() for line in result.out.splitlines()]
    assert ["2", str(EVENTS), str(EVENTS)] in [row[:3] for row in rows]
    assert result.out.endswith("It balances.\n")


def test_missing_rows_are_named_and_repaired(world: Settings, clickhouse_client: "Client") -> None:
    """Rows that the table lost are named by offset and id, and stored again from the log."""
    sent = values()
    send(world.kafka, world.topic, sent, partition=1)
    stored_and_committed(world)
    clickhouse_client.command("DELETE FROM usage_events WHERE kafka_offset IN (3, 4, 5, 9)")

    status, found = audit(world)
    repaired, after = audit(world, "--repair")

    partition = found["partitions"][1]
    assert (1, [[3, 5], [9, 9]]) == (status, partition["missing"])
    assert json.loads(sent[9])["event_id"] == partition["missing_ids"]["9"]
    assert (0, EVENTS, 0) == (repaired, total(after, "stored"), total(after, "missing"))
    for table in ("rollup_usage_15m", "rollup_usage_1d"):
        rows = clickhouse_client.query(f"SELECT sum(requests), sum(total_tokens) FROM {table}")
        assert [(EVENTS, 5 * EVENTS)] == rows.result_rows


def test_rows_that_never_landed_are_repaired_with_their_rollups(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """A token that was remembered while its rows were lost: neither raw nor rollups have them."""
    send(world.kafka, world.topic, values())
    store_log(world, chosen=lambda record: record.offset % 3 == 0)
    commit_log(world)

    broken, _ = audit(world)
    repaired, _ = audit(world, "--repair")

    assert (1, 0) == (broken, repaired)


@pytest.mark.parametrize("table", ["rollup_usage_15m", "rollup_usage_1d"])
def test_a_wrong_rollup_is_reported_and_repaired(
    world: Settings, clickhouse_client: "Client", table: str
) -> None:
    """A rollup's key that is not what raw sums is named with its bucket."""
    send(world.kafka, world.topic, values())
    stored_and_committed(world)
    clickhouse_client.command(f"DELETE FROM {table} WHERE user_id = 'u-3'")

    status, found = audit(world)
    repaired, _ = audit(world, "--repair")

    (difference,) = found["rollup_differences"]
    assert (1, table, "u-3") == (status, difference["table"], difference["key"]["user_id"])
    assert 0 == repaired


def test_rollups_are_not_lowered_where_the_log_proves_nothing(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """Rows that have left raw and the log are counted in the rollups alone."""
    send(world.kafka, world.topic, values(), partition=1)
    stored_and_committed(world)
    place = TopicPartition(world.topic, 1, 6)
    admin = AdminClient({"bootstrap.servers": world.kafka})
    admin.delete_records([place])[place].result(30)
    clickhouse_client.command("DELETE FROM usage_events WHERE kafka_offset IN (2, 3)")

    reported = usagepipe(world, "audit").out
    with pytest.raises(UnprovenRawError, match="Nothing was repaired"):
        usagepipe(world, "audit", "--repair")
    rolled = clickhouse_client.command("SELECT sum(requests) FROM rollup_usage_15m")
    trusted, after = audit(world, "--repair", "--trust-raw")
    lowered = clickhouse_client.command("SELECT sum(requests) FROM rollup_usage_15m")

    assert "Partition 1: 2 offsets between them have no row (2-3)" in reported
    assert (EVENTS, EVENTS - 2) == (rolled, lowered)
    assert (1, []) == (trusted, after["rollup_differences"])
    assert 1 == len(after["sequence_gaps"])  # the two events are lost


def test_dead_letters_and_bad_records_are_counted_separately(world: Settings, topic: str) -> None:
    """A record that is not an event counts as its dead letter; without one it is missing."""
    send(world.kafka, world.topic, [*values(), b"no event"], partition=0)
    stored_and_committed(world)

    without_letter, found = audit(world)

    assert (1, [[EVENTS, EVENTS]]) == (without_letter, found["partitions"][0]["missing"])
    assert found["partitions"][0]["missing_ids"][str(EVENTS)].startswith("no event")
    write_dead_letter(world, found["topic_id"], 0, EVENTS)
    with_letter, found = audit(world)
    assert (0, [[EVENTS, EVENTS]]) == (with_letter, found["partitions"][0]["letters"])


def test_duplicates_of_stored_events_are_accounted_for(world: Settings) -> None:
    """An event that was sent twice is twice in the log and once in the table."""
    sent = values()
    send(world.kafka, world.topic, [*sent, *sent[:4]], partition=0)
    store_log(world, chosen=lambda record: record.offset < EVENTS)
    commit_log(world)

    status, found = audit(world)

    assert (0, 4, EVENTS) == (status, total(found, "duplicates"), total(found, "stored"))


def test_marks_of_transactions_are_no_loss(world: Settings) -> None:
    """An offset that the log itself does not hold lacks nothing."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": world.kafka, "transactional.id": world.group})
    producer.init_transactions(30)
    for value in values(4):
        producer.begin_transaction()
        producer.produce(world.topic, value, partition=0)
        producer.commit_transaction(30)
    stored_and_committed(world)

    status, found = audit(world)

    assert (0, 4, 4) == (status, total(found, "marks"), total(found, "stored"))


def test_an_event_that_is_stored_twice_is_reported_with_its_places(world: Settings) -> None:
    """Both rows of an event are named; the audit fails."""
    sent = values()
    send(world.kafka, world.topic, [*sent, sent[7]], partition=0)
    stored_and_committed(world)

    status, found = audit(world)

    (double,) = found["doubled_events"]
    assert (1, json.loads(sent[7])["event_id"]) == (status, double["event_id"])
    assert [7, EVENTS] == sorted(place[2] for place in double["places"])


def test_an_offset_that_is_stored_twice_is_reported(world: Settings) -> None:
    """A row that was written under two tokens has the same coordinates twice."""
    send(world.kafka, world.topic, values(), partition=3)
    stored_and_committed(world)
    store_log(world, chosen=lambda record: record.offset in {5, 6}, token="zombie")

    status, found = audit(world)

    assert (1, [[5, 6]]) == (status, found["partitions"][3]["doubled"])


def test_a_gap_in_a_sequence_is_a_loss_before_kafka(world: Settings) -> None:
    """A producer's number that no event has fails the audit."""
    sent = values()
    send(world.kafka, world.topic, [*sent[:10], *sent[12:]])
    stored_and_committed(world)

    status, found = audit(world)

    gap = {"producer_id": "p", "missing": [[11, 12]], "under_way": 0, "told": []}
    assert (1, [gap]) == (status, found["sequence_gaps"])


def test_any_number_of_producers_can_be_asked_for(
    migrated: "ClickHouseAddress", world: Settings
) -> None:
    """After an outage, the reports of thousands of processes are all counted."""
    send(world.kafka, world.topic, [*values(), encode(numbered(7, producer_id="q"))])
    store_log(world)
    others = [f"host-{number}" for number in range(2 * PRODUCERS_AT_ONCE)]

    with closing(LazyClient(migrated, 60)) as client:
        rows = AuditQueries(client, "id")
        found = rows.stored_sequences(["q", *others, "p"], from_one=False)
        from_one = rows.stored_sequences(["q", *others, "p"], from_one=True)

    assert {"p": (1, EVENTS), "q": (7, 7)} == found
    assert {"p": (1, EVENTS), "q": (1, 7)} == from_one


def test_a_gap_during_a_backlog_is_reported_and_fails_nothing(world: Settings) -> None:
    """Offsets and numbers that a worker has not stored yet are not lost."""
    send(world.kafka, world.topic, values(), partition=0)
    store_log(world, chosen=lambda record: record.offset < 20 or record.offset > 30)
    commit_log(world, short_by=EVENTS - 20, announced=15)

    _, found = audit(world)

    assert (True, 15, 5) == (
        found["balances"],
        total(found, "pending"),
        total(found, "backlog"),
    )
    assert [[21, 31]] == found["sequence_gaps"][0]["missing"]


def test_a_group_that_never_committed_has_a_backlog_and_no_loss(world: Settings) -> None:
    """Before the first worker starts, everything waits and no member consumes it."""
    send(world.kafka, world.topic, values())

    status, found = audit(world)

    assert (1, True, False) == (status, found["balances"], found["consumed"])
    assert EVENTS == total(found, "backlog")


def test_records_that_nobody_consumes_are_named(world: Settings, run_program: Programs) -> None:
    """Exit status 1 until a worker runs; if nothing waits, no worker is needed."""
    nothing, _ = audit(world)
    send(world.kafka, world.topic, values(), partition=2)

    waiting = usagepipe(world, "audit")
    start_worker(run_program, world)
    eventually(lambda: audit(world)[0] == 0, 60, "an audit that balances")

    assert 0 == nothing
    assert 1 == waiting.status
    assert "Nobody consumes partition 2, where records wait: start usagepipe" in waiting.out
    assert waiting.out.endswith(f"{EVENTS} records wait to be stored.\n")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_an_audit_fits_every_width(
    world: Settings, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every column fits or has its own line; columns of zeros are left out first."""
    send(world.kafka, world.topic, values(), partition=2)
    stored_and_committed(world)
    monkeypatch.setenv("COLUMNS", str(width))

    text = usagepipe(world, "audit").out

    drawn = [line for line in text.splitlines() if not line[:1].isascii()]
    assert drawn
    assert all(len(line) <= width for line in drawn)
    assert all("…" not in line for line in drawn)
    assert "copies" not in text
    assert "stored" in text
    assert "duplicates" in text


def test_offsets_of_another_topic_of_the_name_are_a_problem(world: Settings) -> None:
    """A group whose offsets belong to a deleted topic of the same name cannot be audited."""
    from usagepipe.consumer.topics.group_offsets import GroupOffsets

    send(world.kafka, world.topic, values(), partition=0)
    group = GroupOffsets(world, world.group)
    group.commit(world.topic, 0, 5, '{"usagepipe": 1, "topic_id": "another"}')
    group.close()

    status, found = audit(world)

    assert 1 == status
    assert "another" in found["partitions"][0]["problem"]


def test_a_worker_at_work_is_never_taken_for_a_loss(
    world: Settings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """Audited again and again while it stores, everything balances at each look."""
    sent = values(4_000)
    send(world.kafka, world.topic, [*sent, *sent[:50], b"no event"])
    start_worker(run_program, world, batch_rows=150)

    audits: list[tuple[int, dict[str, Any]]] = []
    while not audits or (audits[-1][0] == 0 and total(audits[-1][1], "backlog")):
        audits.append(audit(world, "--wait", "20"))

    assert [0] * len(audits) == [status for status, _ in audits], audits[-1]
    last = audits[-1][1]
    counts = [total(last, name) for name in ("stored", "letters", "copies", "pending")]
    assert 4_051 == sum(counts)
    assert 1 >= counts[1]

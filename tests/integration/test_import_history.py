"""What an import leaves out: the numbers of producers, and what may have left raw already."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import topics
from tests.support.commands import usagepipe
from tests.support.events import numbered_event
from tests.support.exports import ImportCommand, Output, export_file
from tests.support.stored_events import insert_rows, rows_of, sums_of, usage_sums
from tests.support.stored_log import commit_log, store_log
from tests.support.waiting import eventually
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.clickhouse.migrate import migrate

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

EVENTS = 60


@pytest.fixture
def events() -> list[UsageEvent]:
    return [numbered_event(number) for number in range(EVENTS)]


@pytest.fixture
def file(tmp_path: Path, events: list[UsageEvent]) -> Path:
    return export_file(tmp_path / "export", events)


def audit(settings: Settings) -> tuple[int, list[dict[str, Any]]]:
    """Exit status, and the gaps that it found in producers' numbers."""
    ended = usagepipe(settings, "audit", "--json", "--wait", "5")
    return ended.status, ended.json()["sequence_gaps"]


@pytest.mark.parametrize(
    ("options", "status", "missing"), [((), 0, []), (("--restore",), 1, [[1, 20], [22, 22]])]
)
def test_a_part_of_what_a_producer_recorded_is_no_loss_elsewhere(
    target: Settings,
    import_: ImportCommand,
    tmp_path: Path,
    events: list[UsageEvent],
    capsys: Output,
    options: tuple[str, ...],
    status: int,
    missing: list[list[int]],
) -> None:
    """With their numbers an audit would take those of the others for events lost before Kafka."""
    part = export_file(tmp_path / "part", [events[20], *events[22:30]])

    assert 0 == import_(part, *options)
    store_log(target)
    commit_log(target)

    found, gaps = audit(target)
    assert (status, missing) == (found, [each for gap in gaps for each in gap["missing"]])


def test_a_restore_gives_back_the_numbers_that_an_audit_misses(
    target: Settings,
    import_: ImportCommand,
    file: Path,
    events: list[UsageEvent],
    clickhouse_client: "Client",
    capsys: Output,
) -> None:
    """Where the events were recorded, all of a producer's numbers belong."""
    lost = set(map(encode, events[40:50]))
    topics.send(target.kafka, target.topic, (v for v in map(encode, events) if v not in lost))
    store_log(target)
    commit_log(target)
    missed = audit(target)

    assert (0, "added 10, skipped 50\n") == (import_(file, "--restore"), import_.out)
    store_log(target, chosen=lambda record: record.value in lost, token="restored")
    commit_log(target)

    assert (1, [[41, 50]]) == (missed[0], missed[1][0]["missing"])
    assert (0, []) == audit(target)


def test_what_may_have_left_raw_is_left_out(
    target: Settings, import_: ImportCommand, tmp_path: Path, clickhouse_client: "Client"
) -> None:
    """The rollups may hold it: added again, it would count twice. Younger events are added."""
    now = datetime.now(UTC)
    old = [numbered_event(number, occurred_at=now - timedelta(days=6)) for number in range(10)]
    young = [numbered_event(number, occurred_at=now) for number in range(10, 14)]
    age_tables(clickhouse_client, timedelta(days=20))
    for each, moment in ((old, now - timedelta(days=6)), (young[:2], now)):
        times = {"stored_at": moment.isoformat(), "ingested_at": moment.isoformat()}
        insert_rows(clickhouse_client, rows_of(each, **times))
    migrate(target.model_copy(update={"raw_retention_days": 3}))
    eventually(lambda: rows_left(clickhouse_client) == 2)

    status = import_(export_file(tmp_path / "export", old + young))

    assert (1, "added 2, skipped 2\n") == (status, import_.out)
    assert import_.err.startswith("10 events that are not stored are older than what raw keeps")
    store_log(target)
    assert [4, 14, 14] == [row[0] for row in usage_sums(clickhouse_client)]


def age_tables(client: "Client", age: timedelta) -> None:
    (made,) = client.query("SELECT * FROM usagepipe_migrations LIMIT 1").result_rows
    client.insert("usagepipe_migrations", [[*made[:-1], datetime.now(UTC) - age]])


def rows_left(client: "Client") -> int:
    client.command("OPTIMIZE TABLE usage_events FINAL")
    count: int = client.query("SELECT count() FROM usage_events").result_rows[0][0]
    return count


def test_history_older_than_raw_keeps_comes_into_young_tables(
    target: Settings, import_: ImportCommand, tmp_path: Path, clickhouse_client: "Client"
) -> None:
    """Nothing has left them yet, and raw rows stay so long from their arrival."""
    ancient = [
        numbered_event(number, occurred_at=datetime(2001, 1, 1, tzinfo=UTC)) for number in range(9)
    ]

    assert 0 == import_(export_file(tmp_path / "export", ancient))

    store_log(target)
    assert sums_of(ancient) == usage_sums(clickhouse_client)

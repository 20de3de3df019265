"""A partition with too many refused records is parked, and operators release it."""

import json
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.support import topics
from tests.support.commands import Ended, usagepipe
from tests.support.programs import Program, Programs
from tests.support.running_worker import (
    SECONDS,
    MakeSettings,
    event,
    health,
    metric,
    start_worker,
    wait_until_committed,
)
from tests.support.waiting import eventually
from tests.support.worker import committed, raw_counts
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.errors import WrongUseError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BAD = 2  # the partition that the bad producer writes to
SECRET = b"sk-live-never-shown"

pytestmark = pytest.mark.usefixtures("migrated")


@pytest.fixture
def made(settings: MakeSettings) -> Settings:
    return settings()


def send_bad(settings: Settings, count: int) -> None:
    values = [b"no event " + SECRET] * count
    topics.send(settings.kafka, settings.topic, values, partition=BAD, key=b"one-key")


def send_good(settings: Settings, first: int, count: int, partition: int) -> list[UsageEvent]:
    events = [event(number) for number in range(first, first + count)]
    topics.send(settings.kafka, settings.topic, map(encode, events), partition=partition)
    return events


def parked(worker: Program) -> list[dict[str, Any]]:
    return health(worker).get("parked") or []  # type: ignore[return-value]


def wait_until_parked(worker: Program) -> dict[str, Any]:
    eventually(lambda: parked(worker), SECONDS, worker.tail)
    (found,) = parked(worker)
    return found


def status_of(worker: Program, page: str) -> int:
    try:
        with urlopen(f"{worker.web}/{page}", timeout=5) as answer:  # type: ignore[attr-defined]
            return int(answer.status)
    except HTTPError as error:
        return error.code


def letters(settings: Settings) -> list[topics.Record]:
    return topics.read(settings.kafka, settings.dead_letter_topic)


def rows(client: "Client") -> int:
    return raw_counts(client)[0]


def test_a_bad_producer_parks_one_partition_and_no_worker_ends(
    made: Settings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """The others continue; health, liveness, metric, command and audit say what waits and why."""
    send_bad(made, 5_000)
    send_good(made, 0, 50, BAD)
    send_good(made, 50, 50, 0)

    worker = start_worker(run_program, made)
    found = wait_until_parked(worker)
    eventually(lambda: rows(clickhouse_client) == 50, SECONDS, worker.tail)
    send_good(made, 100, 50, 1)
    eventually(lambda: rows(clickhouse_client) == 100, SECONDS, worker.tail)

    assert (BAD, 1_000) == (
        found["partition"],
        found["limits"]["USAGEPIPE_DEAD_LETTER_RUN"]["limit"],
    )
    assert 0.2 == found["limits"]["USAGEPIPE_DEAD_LETTER_RATIO"]["limit"]
    first, last = found["first_offset"], found["last_offset"]
    assert first == max(0, committed(made)[BAD]) == len(letters(made)) <= 1_000
    reason = found["reasons"]["not_json"]
    assert last - first + 1 >= reason["count"] > 1_000 - first
    assert first == reason["samples"][0]["offset"]
    assert SECRET.decode() not in json.dumps(found)
    assert ("degraded", 503, 200) == (
        health(worker)["state"],
        status_of(worker, "health"),
        status_of(worker, "live"),
    )
    assert 1 == metric(worker, "usagepipe_parked_partitions")
    audit = usagepipe(made, "audit")
    assert 1 == audit.status
    assert f"Partition {BAD} is parked" in audit.out
    assert f"usagepipe dlq release {BAD}" in audit.out
    assert "It balances" not in audit.out
    parked = usagepipe(made, "dlq", "parked", "--json")
    listed = parked.json()  # one line, so one partition
    assert (0, first, last) == (parked.status, listed["first_offset"], listed["last_offset"])
    assert SECRET.decode() not in parked.out
    assert worker.status is None


def test_a_release_with_letters_empties_the_range_and_goes_on(
    made: Settings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """Each refused record becomes one dead letter, the rest is stored, the audit balances."""
    send_bad(made, 5_000)
    send_good(made, 0, 50, BAD)
    worker = start_worker(run_program, made)
    wait_until_parked(worker)

    with pytest.raises(WrongUseError, match="its last offset is 5049"):
        usagepipe(made, "dlq", "release", str(BAD), "--letters", "--last-offset", "5050")
    ended = usagepipe(made, "dlq", "release", str(BAD), "--letters", "--last-offset", "5049")
    wait_until_committed(made, worker)

    assert 0 == ended.status
    assert 50 == rows(clickhouse_client)
    assert list(range(5_000)) == sorted(
        int(each.headers["offset"] or b"") for each in letters(made)
    )
    eventually(lambda: health(worker)["state"] == "running", SECONDS, worker.tail)
    assert 0 == metric(worker, "usagepipe_parked_partitions")
    assert Ended(0, "", "") == usagepipe(made, "dlq", "parked", "--json")
    assert 0 == usagepipe(made, "audit").status
    send_bad(made, 3_000)
    assert wait_until_parked(worker)["first_offset"] >= 5_050


def test_a_parked_partition_stays_parked_for_its_next_owner(
    made: Settings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """It parks at once, without reading; a release reaches it; nothing is lost or doubled."""
    send_bad(made, 5_000)
    send_good(made, 0, 50, BAD)
    first = start_worker(run_program, made)
    before = wait_until_parked(first)
    first.kill()

    second = start_worker(run_program, made)
    after = wait_until_parked(second)
    usagepipe(made, "dlq", "release", str(BAD), "--retry")
    eventually(lambda: '"partition_resumed"' in second.stderr, SECONDS, second.tail)
    retried = wait_until_parked(second)
    written = len(letters(made))
    usagepipe(made, "dlq", "release", str(BAD), "--letters")
    assert 0 == second.stop()
    third = start_worker(run_program, made)
    wait_until_committed(made, third)

    assert before["first_offset"] == after["first_offset"] == retried["first_offset"] == written
    assert before["since"] == after["since"] == retried["since"]
    assert before["worker"] != after["worker"]
    assert (50, 50) == raw_counts(clickhouse_client)
    assert 5_000 == len({each.headers["offset"] for each in letters(made)})


def test_a_worker_with_higher_limits_tries_again_by_itself(
    made: Settings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """Raising a limit and restarting is enough."""
    send_bad(made, 2_000)
    send_good(made, 0, 50, BAD)
    first = start_worker(run_program, made)
    wait_until_parked(first)
    assert 0 == first.stop()

    worker = start_worker(run_program, made, dead_letter_run=100_000, dead_letter_ratio=1)
    wait_until_committed(made, worker)

    assert 50 == rows(clickhouse_client)
    assert 2_000 == len(letters(made))
    assert [] == parked(worker)


def test_rows_that_clickhouse_refuses_park_their_partition(
    made: Settings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """No dead letter is sent beyond the limit; once the table is fixed, a retry stores the rows."""
    constraint = "ADD CONSTRAINT only_small CHECK prompt_tokens < 100"
    clickhouse_client.command(f"ALTER TABLE usage_events {constraint}")
    send_good(made, 1_000, 30, BAD)
    send_good(made, 0, 50, 0)
    worker = start_worker(run_program, made, dead_letter_run=5)
    found = wait_until_parked(worker)
    eventually(lambda: rows(clickhouse_client) == 50, SECONDS, worker.tail)
    sent = len(letters(made))

    clickhouse_client.command("ALTER TABLE usage_events DROP CONSTRAINT only_small")
    usagepipe(made, "dlq", "release", str(BAD), "--retry")
    wait_until_committed(made, worker)

    assert ["refused_by_clickhouse"] == list(found["reasons"])
    assert (5, 5) == (found["first_offset"], sent)
    assert (75, 75) == raw_counts(clickhouse_client)
    assert 5 == len(letters(made))


def test_a_kill_in_the_middle_of_a_release_loses_and_parks_nothing(
    made: Settings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """The next owner finds the release too: it sends the dead letters again and continues."""
    send_bad(made, 5_000)
    send_good(made, 0, 50, BAD)
    first = start_worker(run_program, made, batch_rows=1_500)
    wait_until_parked(first)
    before = len(letters(made))
    usagepipe(made, "dlq", "release", str(BAD), "--letters")
    eventually(lambda: len(letters(made)) > before, SECONDS, first.tail)
    first.kill()

    second = start_worker(run_program, made, batch_rows=1_500)
    wait_until_committed(made, second)

    assert '"partition_parked"' not in second.stderr
    assert (50, 50) == raw_counts(clickhouse_client)
    assert 5_000 == len({each.headers["offset"] for each in letters(made)})
    assert 0 == usagepipe(made, "audit").status

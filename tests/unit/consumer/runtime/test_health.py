"""What `/health` says while a server fails, and of parked partitions."""

from clickhouse_connect.driver.exceptions import DatabaseError

from tests.support.fake_records import PARTITION, parked_at
from usagepipe.consumer.runtime.health import Health

SECRET = "what a user wrote"


def full_disk() -> DatabaseError:
    text = f"Code: 243. DB::Exception: Cannot reserve 1 MiB '{SECRET}'. (NOT_ENOUGH_SPACE)"
    return DatabaseError(text, code=243)


def test_the_trouble_of_a_server_is_reported_by_code_and_meaning() -> None:
    """The text of ClickHouse quotes rows, so the report leaves it out."""
    health = Health(assigned=True)

    health.failed("clickhouse", full_disk())

    trouble = health.report()["troubles"]["clickhouse"]
    assert "degraded" == health.state
    assert ("server", "code 243 NOT_ENOUGH_SPACE", "the disk is full") == (
        trouble["kind"],
        trouble["error"],
        trouble["why"],
    )
    assert SECRET not in str(health.report())


def test_trouble_is_counted_until_it_is_over() -> None:
    """The report names the last error and the time of the first."""
    health = Health(assigned=True)
    health.failed("clickhouse", full_disk())
    health.failed("clickhouse", TimeoutError())

    trouble = health.report()["troubles"]["clickhouse"]
    health.succeeded("clickhouse")

    assert (2, "TimeoutError") == (trouble["tries"], trouble["error"])
    assert trouble["why"].startswith("no answer in time")
    assert "running" == health.state


def test_trouble_is_over_when_it_is_over_everywhere() -> None:
    """Look-ups are answered and other batches stored while one insert still fails."""
    health = Health(assigned=True)
    health.failed("clickhouse", full_disk(), "t[0]@0-9")
    health.failed("clickhouse", full_disk(), "t[1]@0-9")

    health.succeeded("clickhouse", "t[0]@0-9")
    health.succeeded("clickhouse", "t[2]@0-9")
    between = health.state
    health.succeeded("clickhouse", "t[1]@0-9")

    assert ("degraded", "running") == (between, health.state)


def test_a_parked_partition_degrades_the_worker_until_it_goes_on() -> None:
    """The report names the range, the reasons with samples, and both limits."""
    health = Health(assigned=True)
    health.park(parked_at(7, 20))

    (parked,) = health.report()["parked"]
    while_parked = health.state
    health.unpark(PARTITION)

    assert ("degraded", "running", []) == (while_parked, health.state, health.report()["parked"])
    assert (3, 7, 20) == (parked["partition"], parked["first_offset"], parked["last_offset"])
    samples = [{"offset": 7, "detail": "no JSON"}]
    assert {"not_json": {"count": 14, "samples": samples}} == parked["reasons"]
    limits = parked["limits"]
    assert (10, 14) == tuple(limits["USAGEPIPE_DEAD_LETTER_RUN"].values())
    assert 0.2 == limits["USAGEPIPE_DEAD_LETTER_RATIO"]["limit"]
    assert "14 in a row, and USAGEPIPE_DEAD_LETTER_RUN is 10" in parked["why"]
    assert "usagepipe dlq release 3 --letters" in parked["what_to_do"]

"""What `/health` says while a server fails."""

from clickhouse_connect.driver.exceptions import DatabaseError

from usagepipe.consumer.health import Health

SECRET = "what a user wrote"


def full_disk() -> DatabaseError:
    text = f"Code: 243. DB::Exception: Cannot reserve 1 MiB '{SECRET}'. (NOT_ENOUGH_SPACE)"
    return DatabaseError(text, code=243)


def test_the_trouble_of_a_server_is_told_by_its_code_and_what_that_means() -> None:
    """The text of ClickHouse quotes rows: it is never told."""
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
    """The last error is the one that is told, the first one tells since when."""
    health = Health(assigned=True)
    health.failed("clickhouse", full_disk())
    health.failed("clickhouse", TimeoutError())

    trouble = health.report()["troubles"]["clickhouse"]
    health.succeeded("clickhouse")

    assert (2, "TimeoutError", "") == (trouble["tries"], trouble["error"], trouble["why"])
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

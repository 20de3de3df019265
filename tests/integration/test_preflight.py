"""The preflight as the worker runs it, on a real ClickHouse."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from clickhouse_connect.driver.exceptions import OperationalError
from structlog.testing import capture_logs

from tests.support import topics
from tests.support.faulty_proxy import FaultyProxy, drops
from tests.support.preflight import make, scratch_names
from tests.support.programs import Programs, as_environment
from tests.support.worker import committed, free_web_port, raw_counts
from usagepipe.consumer.clickhouse.writer import INSERT_SETTINGS
from usagepipe.consumer.preflight.preflight import Preflight
from usagepipe.consumer.preflight.semantics import check_clickhouse
from usagepipe.consumer.runtime.health import Health
from usagepipe.local import LocalClickHouse
from usagepipe.schemas import UsageEvent, encode
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.errors import StartRefusedError
from usagepipe.schemas.settings import ClickHouseAddress, Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MakeSettings = Callable[..., Settings]


def test_an_insert_whose_answer_is_lost_is_no_reason_to_refuse(settings: MakeSettings) -> None:
    """It may have landed, so nothing can be said: the preflight runs again from the beginning."""
    address = settings().clickhouse_address
    proxy = FaultyProxy(address.port, inserts_into="usagepipe_preflight_")
    try:
        through = replace(address, port=proxy.port)
        with connect(through) as client, proxy.failing(drops), pytest.raises(OperationalError):
            check_clickhouse(client, INSERT_SETTINGS)
    finally:
        proxy.close()

    assert 1 == len(proxy.inserts)


@pytest.mark.usefixtures("migrated")
def test_workers_that_start_at_once_do_not_disturb_each_other(
    settings: MakeSettings, clickhouse_client: "Client"
) -> None:
    """Each has its own scratch tables."""
    made = settings()

    async def all_at_once() -> None:
        await asyncio.gather(*(Preflight(made, Health()).check() for _ in range(3)))

    asyncio.run(all_at_once())

    assert [] == scratch_names(clickhouse_client)


def test_a_table_whose_rows_leave_before_the_records_do_is_refused(
    settings: MakeSettings, database: ClickHouseAddress
) -> None:
    """The table's own retention counts, not what the settings of this worker say."""
    migrate(settings(raw_retention_days=3))

    with pytest.raises(StartRefusedError, match=r"keeps records for 7 days .* rows for 3 days:"):
        asyncio.run(Preflight(settings(), Health()).check())


def test_an_empty_database_is_refused(settings: MakeSettings) -> None:
    """The worker makes no tables itself."""
    made = settings(kafka="127.0.0.1:1", topic="t", group="g")

    with pytest.raises(StartRefusedError, match=r"lacks .*usage_events.*Run usagepipe migrate\."):
        asyncio.run(Preflight(made, Health()).check())


def test_a_missing_database_is_refused(settings: MakeSettings, clickhouse: str) -> None:
    """As an empty one is."""
    made = settings(
        kafka="127.0.0.1:1", topic="t", group="g", clickhouse=f"{clickhouse.rstrip('/')}/nowhere"
    )

    with pytest.raises(StartRefusedError, match=r"does not exist\. Run usagepipe migrate\."):
        asyncio.run(Preflight(made, Health()).check())


def test_a_clickhouse_that_is_away_is_waited_for(
    crashable_clickhouse: LocalClickHouse, settings: MakeSettings
) -> None:
    """The preflight runs when it first answers; until then the health names the missing server."""
    url = crashable_clickhouse.url
    made = settings(kafka="127.0.0.1:1", topic="t", group="g", clickhouse=url)
    health = Health()
    crashable_clickhouse.kill()

    async def start_late() -> tuple[str, BaseException | None]:
        proving = asyncio.create_task(Preflight(made, health).check())
        while "clickhouse" not in health.troubles:
            await asyncio.sleep(0.05)
        error = health.troubles["clickhouse"].cause.error
        await asyncio.to_thread(crashable_clickhouse.start)
        await asyncio.wait([proving])
        return error, proving.exception()

    error, refused = asyncio.run(start_late())

    assert "ServerUnavailableError" == error
    assert "Run usagepipe migrate." in str(refused)  # it answered: it has no tables


def test_an_idle_worker_knows_that_it_may_not_begin(settings: MakeSettings) -> None:
    """It does not wait for the first event to find out; and nothing is raised at it."""
    made = settings(kafka="127.0.0.1:1", topic="t", group="g")
    health = Health()

    asyncio.run(Preflight(made, health).at_start())

    assert "Run usagepipe migrate." in str(health.refusal)


@pytest.mark.usefixtures("migrated")
def test_a_worker_that_would_double_ends_and_says_why(
    settings: MakeSettings, clickhouse_client: "Client", run_program: Programs
) -> None:
    """Status 1, the reason in the log, and neither a row nor an offset was written."""
    made = settings(web_port=free_web_port(), session_seconds=6)
    make(
        clickhouse_client,
        "ALTER TABLE rollup_usage_1d MODIFY SETTING non_replicated_deduplication_window = 0",
    )
    topics.send(made.kafka, made.topic, [encode(UsageEvent.new(user_id="u"))])

    worker = run_program("worker", environment=as_environment(made))
    status = worker.wait(60)

    (line,) = [line for line in worker.stderr.splitlines() if "worker_refused" in line]
    assert 1 == status
    assert f"{clickhouse_client.database}.rollup_usage_1d remembers no insert" in line
    assert (0, 0) == raw_counts(clickhouse_client)
    assert set() == {offset for offset in committed(made).values() if offset >= 0}


@pytest.mark.usefixtures("migrated")
def test_a_preflight_that_is_off_only_warns(
    settings: MakeSettings, clickhouse_client: "Client", migrated: ClickHouseAddress
) -> None:
    """It creates nothing on the server, and logs what it would refuse."""
    made = settings(preflight=False)
    make(
        clickhouse_client,
        "ALTER TABLE usage_names MODIFY SETTING non_replicated_deduplication_window = 0",
    )

    with capture_logs() as logs:
        asyncio.run(Preflight(made, Health()).check())

    assert [("preflight_skipped", "warning"), ("preflight_failed", "warning")] == [
        (line["event"], line["log_level"]) for line in logs
    ]
    assert f"{migrated.database}.usage_names remembers no insert" in logs[1]["reason"]

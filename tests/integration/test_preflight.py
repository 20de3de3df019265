"""What a worker checks of its ClickHouse before it begins, on a real one."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from structlog.testing import capture_logs

from tests.support import topics
from tests.support.faulty_proxy import FaultyProxy, drops
from tests.support.programs import Programs, as_environment
from tests.support.waiting import eventually
from tests.support.worker import committed, free_web_port, raw_counts
from usagepipe.consumer.clickhouse.writer import INSERT_SETTINGS
from usagepipe.consumer.preflight import scratch_tables
from usagepipe.consumer.preflight.preflight import Preflight
from usagepipe.consumer.preflight.scratch_tables import Scratch
from usagepipe.consumer.preflight.semantics import check_clickhouse
from usagepipe.consumer.preflight.tables import check_tables
from usagepipe.consumer.runtime.health import Health
from usagepipe.local import LocalClickHouse
from usagepipe.schemas import UsageEvent, encode
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.clickhouse.migrations import Target
from usagepipe.schemas.errors import SemanticsError, StartRefusedError
from usagepipe.schemas.settings import ClickHouseAddress, Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MakeSettings = Callable[..., Settings]
FLAG = "deduplicate_blocks_in_dependent_materialized_views"
WINDOW = "SETTINGS non_replicated_deduplication_window = 100"


class Overruled:
    """A client whose server goes its own way: with settings forced, or statements changed."""

    def __init__(
        self,
        client: "Client",
        forced: Mapping[str, Any] | None = None,
        command: Callable[[str], str] = str,
    ) -> None:
        self._client = client
        self._forced = dict(forced or {})
        self._command = command

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def raw_insert(self, table: str, **options: Any) -> Any:
        options["settings"] |= self._forced
        return self._client.raw_insert(table, **options)

    def command(self, statement: str) -> Any:
        return self._client.command(self._command(statement))


def overruled(client: "Client", **options: Any) -> "Client":
    return cast("Client", Overruled(client, **options))


def scratch_names(client: "Client") -> list[str]:
    found = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return [name for (name,) in found.result_rows if name.startswith("usagepipe_preflight_")]


def check(client: "Client") -> str:
    return check_tables(client, Target(str(client.database)))


def make(client: "Client", *statements: str) -> None:
    for statement in statements:
        client.command(statement)


# The server's semantics.


def test_the_preflight_passes_on_a_server_as_it_should_be(clickhouse_client: "Client") -> None:
    """With the worker's settings every case leads to what it must, and nothing stays behind."""
    check_clickhouse(clickhouse_client, INSERT_SETTINGS)

    assert [] == scratch_names(clickhouse_client)


@pytest.mark.parametrize(
    ("forced", "case", "found"),
    [
        ({FLAG: 0}, f"retry, both windows, {FLAG}=1", "10/20/20 rows"),
        ({FLAG: 1}, f"retry, both windows, {FLAG}=0", "10/10 rows"),
        ({"insert_deduplication_token": ""}, "retry, window on raw only", "20/20 rows"),
    ],
    ids=["flag off", "flag on always", "token ignored"],
)
def test_a_profile_that_overrules_the_worker_is_refused(
    clickhouse_client: "Client", forced: Mapping[str, Any], case: str, found: str
) -> None:
    """The error names the case and the rows; the scratch tables are gone all the same."""
    with pytest.raises(SemanticsError) as refused:
        check_clickhouse(overruled(clickhouse_client, forced=forced), INSERT_SETTINGS)

    assert case == refused.value.case
    assert found in refused.value.found
    assert found in str(refused.value)
    assert [] == scratch_names(clickhouse_client)


def test_a_server_that_remembers_without_being_told_is_refused(
    clickhouse_client: "Client",
) -> None:
    """Better than expected is different all the same: the preflight cannot see the cause."""

    def with_windows(statement: str) -> str:
        return statement.replace("_window = 0", "_window = 100")

    with pytest.raises(SemanticsError) as refused:
        check_clickhouse(overruled(clickhouse_client, command=with_windows), INSERT_SETTINGS)

    error = refused.value
    assert ("retry, no windows", "20/20 rows", "10/10 rows") == (
        error.case,
        error.expected,
        error.found,
    )


def test_a_view_that_is_not_heard_failing_is_refused(clickhouse_client: "Client") -> None:
    """A server that takes an insert while its view throws would lose the view's rows."""

    def never_throwing(statement: str) -> str:
        return statement.replace("throwIf(", "toUInt8(")

    with pytest.raises(SemanticsError, match="retry, views threw after raw was stored"):
        check_clickhouse(overruled(clickhouse_client, command=never_throwing), INSERT_SETTINGS)


def test_a_user_without_rights_is_told_the_grant(clickhouse_client: "Client") -> None:
    """The error names what is lacking, the whole grant, and the way without it."""

    def denied(statement: str) -> str:
        if not statement.lstrip().startswith("CREATE TABLE"):
            return statement
        raise DatabaseError(
            "Code: 497. DB::Exception: u: Not enough privileges. To execute this query, it's "
            "necessary to have the grant CREATE TABLE ON d.t. (ACCESS_DENIED)"
        )

    with pytest.raises(StartRefusedError) as refused:
        check_clickhouse(overruled(clickhouse_client, command=denied), INSERT_SETTINGS)

    grant = "SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW"
    text = str(refused.value)
    assert "lacks CREATE TABLE." in text
    assert f"GRANT {grant} ON {clickhouse_client.database}.* TO default." in text
    assert "USAGEPIPE_PREFLIGHT=off" in text


def test_a_setting_that_the_server_does_not_know_is_refused(clickhouse_client: "Client") -> None:
    """Every insert would fail for ever."""
    with pytest.raises(StartRefusedError, match="does not know a setting"):
        check_clickhouse(clickhouse_client, {**INSERT_SETTINGS, "no_such_setting": 1})


def test_what_a_killed_worker_left_is_dropped_when_it_is_old(
    clickhouse_client: "Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A young one is another worker's, which runs at this moment."""
    left = Scratch(clickhouse_client, INSERT_SETTINGS, replicated=False)
    left.make()
    make(clickhouse_client, "CREATE TABLE usagepipe_preflight_mine (i UInt8) ENGINE = Memory")
    young = scratch_names(clickhouse_client)

    check_clickhouse(clickhouse_client, INSERT_SETTINGS)
    kept = scratch_names(clickhouse_client)
    monkeypatch.setattr(scratch_tables, "LEFTOVER_MINUTES", 0)

    def only_mine() -> bool:
        check_clickhouse(clickhouse_client, INSERT_SETTINGS)
        return scratch_names(clickhouse_client) == ["usagepipe_preflight_mine"]

    assert (10, sorted(young)) == (len(young), sorted(kept))
    eventually(only_mine)


# The tables.


@pytest.mark.usefixtures("migrated")
def test_the_tables_of_migrate_all_remember(clickhouse_client: "Client") -> None:
    """Nothing to refuse; and the engine is told, which the scratch tables take after."""
    assert "MergeTree" == check(clickhouse_client)


@pytest.mark.usefixtures("migrated")
def test_tables_whose_windows_were_taken_away_are_refused(clickhouse_client: "Client") -> None:
    """Each is named, with the statement that gives it back."""
    tables = ["usage_events", "rollup_usage_15m", "rollup_usage_1d"]
    window = "non_replicated_deduplication_window"
    make(clickhouse_client, *(f"ALTER TABLE {t} MODIFY SETTING {window} = 0" for t in tables))

    with pytest.raises(StartRefusedError) as refused:
        check(clickhouse_client)

    for name in (f"{clickhouse_client.database}.{table}" for table in tables):
        assert (
            f"{name} remembers no insert, so a repeated one would double: "
            f"ALTER TABLE {name} MODIFY SETTING {window} = 100000."
        ) in str(refused.value)


MINE = "(event_id UUID, prompt_tokens UInt64) ENGINE ="
FROM_RAW = "AS SELECT event_id, prompt_tokens FROM usage_events"
FROM_ROLLUP = "AS SELECT bucket, sum(requests) AS requests FROM rollup_usage_1d GROUP BY bucket"


@pytest.mark.usefixtures("migrated")
def test_views_of_users_into_tables_that_forget_are_refused(clickhouse_client: "Client") -> None:
    """Wherever they hang, and whatever their tables do with equal rows: all are named."""
    make(
        clickhouse_client,
        f"CREATE TABLE in_memory {MINE} Memory",
        f"CREATE MATERIALIZED VIEW a TO in_memory {FROM_RAW}",
        f"CREATE TABLE `it's \\`quoted\\`` {MINE} MergeTree ORDER BY event_id",
        f"CREATE MATERIALIZED VIEW `a TO b.c ` TO `it's \\`quoted\\`` {FROM_RAW}",
        "CREATE TABLE behind_a_rollup (bucket DateTime, requests UInt64) "
        "ENGINE = SummingMergeTree ORDER BY bucket",
        f"CREATE MATERIALIZED VIEW b TO behind_a_rollup {FROM_ROLLUP}",
        f"CREATE MATERIALIZED VIEW c ENGINE = MergeTree ORDER BY event_id {FROM_RAW}",
        f"CREATE TABLE passing {MINE} Null",
        f"CREATE MATERIALIZED VIEW d TO passing {FROM_RAW}",
        f"CREATE TABLE behind_one_that_passes {MINE} ReplacingMergeTree ORDER BY event_id",
        "CREATE MATERIALIZED VIEW e TO behind_one_that_passes AS SELECT * FROM passing",
    )

    with pytest.raises(StartRefusedError) as refused:
        check(clickhouse_client)

    told = str(refused.value)
    assert ".in_memory has the engine Memory" in told
    assert ".it's `quoted` remembers no insert" in told
    assert ".behind_a_rollup remembers no insert" in told
    assert "..inner_id." in told
    assert ".behind_one_that_passes remembers no insert" in told
    assert 5 == told.count("would double")


@pytest.mark.usefixtures("migrated")
def test_a_view_into_a_missing_table_is_refused(clickhouse_client: "Client") -> None:
    """No insert would succeed."""
    make(
        clickhouse_client,
        f"CREATE TABLE mine {MINE} MergeTree ORDER BY event_id {WINDOW}",
        f"CREATE MATERIALIZED VIEW v TO mine {FROM_RAW}",
        "DROP TABLE mine",
    )

    with pytest.raises(StartRefusedError, match=r"A view fills \w+\.mine, which is missing"):
        check(clickhouse_client)


@pytest.mark.usefixtures("migrated")
def test_views_of_users_that_a_retry_cannot_double_are_fine(clickhouse_client: "Client") -> None:
    """A table with its window, also behind one that keeps nothing; and what no insert fills."""
    make(
        clickhouse_client,
        f"CREATE TABLE mine {MINE} MergeTree ORDER BY event_id {WINDOW}",
        f"CREATE MATERIALIZED VIEW v TO mine {FROM_RAW}",
        f"CREATE TABLE passing {MINE} Null",
        f"CREATE MATERIALIZED VIEW w TO passing {FROM_RAW}",
        "CREATE MATERIALIZED VIEW x TO mine AS SELECT * FROM passing",
        f"CREATE TABLE now_and_then {MINE} MergeTree ORDER BY event_id",
        f"CREATE MATERIALIZED VIEW y REFRESH EVERY 1 YEAR TO now_and_then {FROM_RAW}",
        f"CREATE VIEW z {FROM_RAW}",
    )

    assert "MergeTree" == check(clickhouse_client)


@pytest.mark.usefixtures("migrated")
def test_missing_tables_and_views_are_named(clickhouse_client: "Client") -> None:
    """Without its view a rollup would stay behind in silence."""
    make(clickhouse_client, "DROP TABLE rollup_usage_1d_mv", "DROP TABLE usage_names")

    with pytest.raises(StartRefusedError) as refused:
        check(clickhouse_client)

    assert (
        f"The database {clickhouse_client.database} lacks rollup_usage_1d_mv, usage_names. "
        "Run usagepipe migrate." == str(refused.value)
    )


# The preflight as the worker runs it.


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
    """Each has tables of its own."""
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
    """The preflight runs when it first answers; until then the health tells who is missing."""
    url = crashable_clickhouse.url
    made = settings(kafka="127.0.0.1:1", topic="t", group="g", clickhouse=url)
    health = Health()
    crashable_clickhouse.kill()

    async def start_late() -> tuple[str, BaseException | None]:
        proving = asyncio.create_task(Preflight(made, health).check())
        while "clickhouse" not in health.troubles:
            await asyncio.sleep(0.05)
        error = health.troubles["clickhouse"].error
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
    """It makes nothing on the server; what it reads and would refuse is in the log."""
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

"""What ClickHouse does with a repeated insert, on a real one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.support.preflight import make, overruled, scratch_names
from tests.support.waiting import eventually
from usagepipe.consumer.clickhouse.writer import INSERT_SETTINGS
from usagepipe.consumer.preflight import scratch_tables
from usagepipe.consumer.preflight.scratch_tables import Scratch
from usagepipe.consumer.preflight.semantics import check_clickhouse
from usagepipe.schemas.errors import SemanticsError, StartRefusedError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FLAG = "deduplicate_blocks_in_dependent_materialized_views"


def test_the_preflight_passes_on_a_server_as_it_should_be(clickhouse_client: "Client") -> None:
    """With the worker's settings every case has the expected result, and no table is left."""
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


def test_a_server_that_remembers_inserts_unasked_is_refused(
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


def test_a_missing_right_is_named_with_its_grant(clickhouse_client: "Client") -> None:
    """The error names what is lacking, the whole grant, and the way without it."""

    def denied(statement: str) -> str:
        if "\nCREATE TABLE" not in statement:
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


def test_what_a_worker_of_an_older_version_left_is_dropped(clickhouse_client: "Client") -> None:
    """Its scratch tables had another name."""
    left = f"usagepipe_{'proof'}_1700000000_{'a' * 16}_raw"
    make(clickhouse_client, f"CREATE TABLE {left} (i UInt8) ENGINE = Memory")

    check_clickhouse(clickhouse_client, INSERT_SETTINGS)

    assert 0 == clickhouse_client.command(f"EXISTS TABLE {left}")

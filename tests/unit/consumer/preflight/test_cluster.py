"""The preflight on a cluster, of which no test runs one: what it reads and what it makes."""

from typing import TYPE_CHECKING, Any, cast

import pytest

from usagepipe.consumer.preflight.scratch_tables import Scratch
from usagepipe.consumer.preflight.tables import check_tables
from usagepipe.schemas.clickhouse.migrations import Target, load_migrations
from usagepipe.schemas.errors import StartRefusedError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TARGET = Target("db", "cluster")
NO_UUID = "00000000-0000-0000-0000-000000000000"
WINDOWS = "replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = "


class FakeServer:
    """Answers the questions about a cluster's tables, and keeps the commands that it gets."""

    def __init__(self, settings_of_rollup: str, defaults: list[tuple[str, int]]) -> None:
        self.commands: list[str] = []
        self.result_rows: list[Any] = []
        self.database = "db"
        self._defaults = defaults
        views = [("db", "rollup_mv")]
        self._tables = {
            "usage_events": (
                "Distributed",
                "Distributed('cluster', 'db', 'usage_events_local', cityHash64(kafka_partition))",
                "",
                [],
            ),
            "usage_events_local": ("ReplicatedMergeTree", f"x SETTINGS {WINDOWS}60", "", views),
            "rollup_mv": (
                "MaterializedView",
                "",
                "CREATE MATERIALIZED VIEW db.rollup_mv TO db.rollup_local (`i` UInt8) AS SELECT 1",
                [],
            ),
            "rollup_local": ("ReplicatedMergeTree", f"x SETTINGS {settings_of_rollup}", "", []),
        }

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> "FakeServer":
        if parameters:
            names = [name for _, name in parameters["names"]]
            self.result_rows = [
                ("db", name, NO_UUID, *self._tables[name]) for name in names if name in self._tables
            ]
        elif "replicated_merge_tree_settings" in sql:
            self.result_rows = list(self._defaults)
        else:
            self.result_rows = [(each.object_name(TARGET),) for each in load_migrations()]
        return self

    def command(self, statement: str) -> None:
        self.commands.append(statement)


def check(server: FakeServer) -> str:
    return check_tables(cast("Client", server), TARGET)


def test_the_windows_of_a_distributed_tables_local_tables_count() -> None:
    """The returned engine is that of the table with the rows."""
    server = FakeServer(f"{WINDOWS}60", [])

    assert "ReplicatedMergeTree" == check(server)


def test_a_replicated_table_may_rely_on_the_servers_defaults() -> None:
    """Unlike others, replicated tables remember inserts by default."""
    names = ("replicated_deduplication_window", "replicated_deduplication_window_seconds")
    server = FakeServer("index_granularity = 8192", [(name, 10) for name in names])

    assert "ReplicatedMergeTree" == check(server)


@pytest.mark.parametrize(
    "settings", [f"{WINDOWS}0", WINDOWS.replace("1000", "0") + "60"], ids=["seconds", "blocks"]
)
def test_a_replicated_table_without_its_windows_is_refused(settings: str) -> None:
    """It forgets by number and by age: each of them must be there."""
    with pytest.raises(StartRefusedError, match=r"db\.rollup_local remembers no insert") as refused:
        check(FakeServer(settings, []))

    assert "replicated_deduplication_window_seconds = 2592000." in str(refused.value)


def test_the_scratch_tables_are_replicated_where_the_raw_table_is() -> None:
    """Their deduplication is another one than that of plain tables."""
    server = FakeServer("", [])

    Scratch(cast("Client", server), {}, replicated=True).make()

    tables = [made for made in server.commands if "CREATE TABLE" in made]
    assert 5 == len(tables)
    assert all("ENGINE = Replicated" in made for made in tables)

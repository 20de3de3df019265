"""The SQL of the rollups as it is sent. `UPDATE_GOLDEN=1` writes the golden files again."""

from pathlib import Path
from typing import cast

import pytest
from clickhouse_connect.driver.client import Client

from tests.support.golden import golden
from usagepipe.consumer.rollups.comparison_sql import DAYS, QUARTERS, UnsettledOffsets
from usagepipe.consumer.rollups.running_inserts import Processes

GOLDEN = Path(__file__).parent / "golden"
UNSETTLED = [UnsettledOffsets("an-id", 3, 70), UnsettledOffsets("it's", 4, 0)]
GENERATED = {
    "quarters_differences": QUARTERS.differences(UNSETTLED),
    "days_differences": DAYS.differences(()),
    "quarters_fingerprints": "\n;\n".join(QUARTERS.fingerprints()),
    "days_fingerprints": "\n;\n".join(DAYS.fingerprints()),
    "quarters_insert": QUARTERS.insert_differences([1, 2], "a marker", "system.processes"),
    "days_insert": DAYS.insert_differences([1, 2], "a marker", "system.processes"),
}


class FakeClient:
    """Keeps the last statement and answers it with no rows."""

    result_rows: tuple[()] = ()

    def query(self, sql: str) -> "FakeClient":
        self.sql = sql
        return self


@pytest.mark.parametrize("name", GENERATED)
def test_the_generated_sql_is_the_golden_one(name: str) -> None:
    """One column a line, so that a change shows in a few lines."""
    text = GENERATED[name].replace(", ", ",\n").replace(" FROM ", "\nFROM ") + "\n"

    assert golden(GOLDEN / f"{name}.sql", text) == text


@pytest.mark.parametrize(("name", "cluster"), [("one_server", ""), ("cluster", "a_cluster")])
def test_running_inserts_are_read_on_every_node(name: str, cluster: str) -> None:
    """On a cluster, the parts that a replica has yet to fetch are read too."""
    client = FakeClient()

    Processes(cluster).inserts(cast(Client, client))

    text = client.sql + "\n"
    assert golden(GOLDEN / f"running_inserts_{name}.sql", text) == text

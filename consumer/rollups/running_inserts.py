"""Lists the inserts that a ClickHouse server, or every node of a cluster, is running now.

A statement is in `system.processes` from before its first row is written until its last view is
written. On a cluster, parts that a replica has not fetched yet count as running inserts too.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from usagepipe.schemas.clickhouse.sql_files import fill, read_sql

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_sql = partial(read_sql, "usagepipe.consumer.rollups")
_CLUSTER: Final = re.compile(r"^Distributed\('?([^',]+)'?,")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of one server, or of all nodes of `cluster` (empty: one server)."""

    cluster: str

    @classmethod
    def of(cls, client: "Client") -> Self:
        """The server that `client` is connected to, or the cluster of its tables."""
        engines = client.query(_sql("table_engine")).result_rows
        found = [_CLUSTER.match(engine) for (engine,) in engines]
        return cls(next((match[1] for match in found if match), ""))

    @property
    def table(self) -> str:
        """The table expression that reads the processes of all nodes."""
        return self._everywhere("processes")

    def inserts(self, client: "Client") -> frozenset[str]:
        """Names of the running inserts, and of the parts that a replica has yet to fetch."""
        words = {
            "processes": self.table,
            "replication_queue": self._everywhere("replication_queue"),
        }
        name = "running_inserts_cluster" if self.cluster else "running_inserts"
        rows = client.query(fill(_sql(name), words)).result_rows
        return frozenset(name for (name,) in rows)

    def _everywhere(self, table: str) -> str:
        if self.cluster:
            return f"clusterAllReplicas('{self.cluster}', system.{table})"
        return f"system.{table}"

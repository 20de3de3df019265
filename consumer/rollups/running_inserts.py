"""Which inserts into usagepipe's tables a ClickHouse server, or a cluster, is running now.

A statement stands in `system.processes` before it writes its first row and until its last view is
written. On a cluster every node must be asked, and what a replica has not fetched yet counts too.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from usagepipe.consumer.clickhouse.writer import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_CLUSTER: Final = re.compile(r"^Distributed\('?([^',]+)'?,")


@dataclass(frozen=True, slots=True)
class Processes:
    """Where to ask: `cluster` is empty on one server."""

    cluster: str

    @classmethod
    def of(cls, client: "Client") -> Self:
        """The server that `client` is connected to, or the cluster that its tables stand on."""
        engines = client.query(
            "SELECT engine_full FROM system.tables"
            " WHERE database = currentDatabase() AND name = {table:String}",
            parameters={"table": TABLE},
        )
        found = [_CLUSTER.match(engine) for (engine,) in engines.result_rows]
        return cls(next((match[1] for match in found if match), ""))

    @property
    def table(self) -> str:
        """All nodes' processes, to be read in SQL."""
        return self._everywhere("processes")

    def inserts(self, client: "Client") -> frozenset[str]:
        """Names of the inserts that run, and of the parts that a replica has yet to fetch.

        An insert into any table counts: a view may stand between it and ours.
        """
        running = (
            f"SELECT concat(hostName(), query_id) FROM {self.table}"
            " WHERE query_kind IN ('Insert', 'AsyncInsertFlush')"
        )
        if self.cluster:
            running += (
                " UNION ALL SELECT concat(hostName(), table, new_part_name)"
                f" FROM {self._everywhere('replication_queue')}"
                " WHERE database = currentDatabase() AND type = 'GET_PART'"
            )
        return frozenset(name for (name,) in client.query(running).result_rows)

    def _everywhere(self, table: str) -> str:
        if self.cluster:
            return f"clusterAllReplicas('{self.cluster}', system.{table})"
        return f"system.{table}"

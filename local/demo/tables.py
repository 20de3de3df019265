"""The sums of a run over the raw events and over each rollup.

It uses its own SQL instead of `query`, because the check also covers the answers of `query`.
"""

from functools import partial
from typing import Any

from usagepipe.local.demo.check import Count
from usagepipe.query.explanations import ExplainedEvent, Explainer
from usagepipe.query.store import Store
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.sql_files import read_sql
from usagepipe.schemas.settings import QuerySettings

EVENTS = "usage_events"


load_statement = partial(read_sql, "usagepipe.local.demo")


class Tables:
    """The tables of one run. Every method blocks and raises:

    ServerUnavailableError: ClickHouse does not answer.
    UsagePipeError: it refuses.
    """

    def __init__(self, settings: QuerySettings) -> None:
        self._database = settings.clickhouse_address.database
        self._store = Store(connect(settings.clickhouse_address))

    def stored_events(self) -> int:
        """How many events are stored so far."""
        return int(self._rows("stored_events")[0]["events"])

    def count_events(self) -> Count:
        """The sums over the raw events."""
        return Count(EVENTS, self._rows("event_sums")[0])

    def count_rollups(self) -> tuple[Count, ...]:
        """The sums over each rollup that there is."""
        found = self._rows("rollups", database=self._database)
        names = [str(row["name"]) for row in found]
        return tuple(Count(name, self._rows("rollup_sums", rollup=name)[0]) for name in names)

    def explain_one(self) -> ExplainedEvent | None:
        """How the cost of one priced event comes about; None if there is none."""
        found = self._rows("priced_event")
        return Explainer(self._store).explain(found[0]["event_id"]) if found else None

    def _rows(self, statement: str, **parameters: str) -> list[dict[str, Any]]:
        return self._store.rows(load_statement(statement), parameters)

    def close(self) -> None:
        self._store.close()

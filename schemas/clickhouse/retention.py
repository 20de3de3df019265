"""The retention of each table: it comes from the settings, and ALTER applies it.

Settings may change at any time, so retention is not part of a migration file.
"""

import re
from dataclasses import dataclass

from usagepipe.schemas.clickhouse.migrations import Target, load_statement
from usagepipe.schemas.settings import StorageSettings

_LIVE_DAYS = re.compile(r"\bTTL .*?\btoIntervalDay\(1 \+ (\d+)\)")
_LIVE_TTL = re.compile(r"\bTTL\b")


@dataclass(frozen=True, slots=True)
class Retention:
    """Rows of `table` stay `days` days after the moment in the column `arrival`; 0 is for ever."""

    table: str
    arrival: str
    days: int

    def change(self, definition: str, target: Target) -> str | None:
        """The statement that brings the table, defined so, to this retention; None if it has it."""
        if self.days == live_days(definition):
            return None
        statement = load_statement("retention_set.sql" if self.days else "retention_remove.sql")
        return target.render(statement, table=self.table, arrival=self.arrival, days=str(self.days))


def retentions(settings: StorageSettings) -> tuple[Retention, ...]:
    """The retention of every table that holds events or rollups, from the settings."""
    return (
        Retention("usage_events", "stored_at", settings.raw_retention_days),
        Retention("rollup_usage_15m", "last_stored_at", settings.rollup_retention_days),
        Retention("rollup_usage_1d", "last_stored_at", settings.rollup_retention_days),
        Retention("usage_names", "last_stored_at", settings.rollup_retention_days),
    )


def live_days(definition: str) -> int | None:
    """The retention that a table's definition has; 0 is for ever, None one that is not ours."""
    days = _LIVE_DAYS.search(definition)
    if days:
        return int(days[1])
    return None if _LIVE_TTL.search(definition) else 0

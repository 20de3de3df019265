"""Since when the raw table has every event that the rollups sum.

Rollups outlive raw rows. A bucket whose raw rows are gone holds the only record of that usage:
"raw minus rollup" would wipe it out. So what lies before that moment is never compared. Nor is a
record of the log that arrived before it ever "missing": stored again, it would be summed again.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from usagepipe.consumer.clickhouse.writer import TABLE
from usagepipe.consumer.rollups.rollup_comparison import DAYS, QUARTERS
from usagepipe.schemas.clickhouse.ledger import LEDGER
from usagepipe.schemas.clickhouse.retention import live_days

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_DAY = timedelta(days=1)
# Rows are stored by ClickHouse's clock and arrive by Kafka's: these may be so far apart.
_CLOCKS_APART = timedelta(minutes=10)


def kept_from(client: "Client") -> datetime | None:
    """The beginning of the first UTC day that raw has whole; None when it has all there ever was.

    An event is stored after it occurred, and raw rows leave by the time they were stored. So a
    bucket that begins after the last row that left was stored has lost nothing. Two bounds on that
    moment:

    1. The table's retention: rows stored more than so many days ago may have left. (Rows of
       imported history occurred earlier, but are stored as late as the import.)
    2. What stands there: an event that a rollup has, and that was stored before the oldest row
       arrived, has left: by a retention that has since been changed, or by hand.

    A table younger than 1 has lost nothing to its retention, one whose first row came within a day
    of its making has lost nothing to 2: there, history of any age is compared.

    `occurred_at` is the client's word: where its clock ran ahead by more than a day, an event may
    lie in a bucket after this moment although its row has left.
    """
    made = _made_at(client)
    bounds = [_by_retention(client, made), _by_oldest(client, made)]
    return max((bound for bound in bounds if bound is not None), default=None)


def live_retention_days(client: "Client") -> int:
    """How many days raw rows stay after they were stored, as the table has it; 0 is for ever."""
    tables = client.query(
        "SELECT create_table_query FROM system.tables"
        " WHERE database = currentDatabase() AND name IN ({table:String}, {local:String})",
        parameters={"table": TABLE, "local": f"{TABLE}_local"},
    )
    # A TTL that is not ours (None) is taken for the shortest one.
    days = [live_days(definition) for (definition,) in tables.result_rows]
    return min((1 if each is None else each for each in days if each != 0), default=0)


def _by_retention(client: "Client", made: datetime | None) -> datetime | None:
    days = live_retention_days(client)
    if not days:
        return None
    left = datetime.now(UTC) - (days + 1) * _DAY
    return None if made is not None and made >= left else _next_day(left)


def _by_oldest(client: "Client", made: datetime | None) -> datetime | None:
    # From the statistics that each part keeps of its partition's key: no row is read.
    ((rows, oldest),) = client.query(f"SELECT count(), min(ingested_at) FROM {TABLE}").result_rows
    moment: datetime = oldest if rows else datetime.now(UTC)
    if made is not None and moment <= made + _DAY:
        return None
    left = _last_left(client, moment)
    # A key of the next bucket may have lost rows and have others left.
    return None if left is None else _next_day(left + QUARTERS.width)


def _last_left(client: "Client", moment: datetime) -> datetime | None:
    """When the last event was stored that a rollup has and that raw, from `moment` on, has not."""
    tables = (f"SELECT last_stored_at FROM {rollup.table}" for rollup in (QUARTERS, DAYS))
    rows = client.query(
        f"SELECT max(last_stored_at) FROM ({' UNION ALL '.join(tables)})"
        " WHERE last_stored_at < {before:DateTime64(3, 'UTC')} HAVING count() > 0",
        parameters={"before": moment - _CLOCKS_APART},
    ).result_rows
    return rows[0][0] if rows else None


def _made_at(client: "Client") -> datetime | None:
    rows = client.query(f"SELECT count(), min(applied_at) FROM {LEDGER}").result_rows
    ((count, made),) = rows
    return made if count else None


def _next_day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY

"""Finds the time from which the raw table is complete. Earlier buckets are never compared.

Rollups outlive raw rows. A bucket whose raw rows have expired is the only record of that usage:
"raw minus rollup" would erase it. For the same reason a log record that arrived before that time is
never "missing": storing it again would count it again.
"""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from usagepipe.consumer.rollups.comparison_sql import QUARTERS
from usagepipe.schemas.clickhouse.retention import live_days
from usagepipe.schemas.clickhouse.sql_files import read_sql

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_sql = partial(read_sql, "usagepipe.consumer.rollups")
_DAY: Final = timedelta(days=1)
# Rows are stored by ClickHouse's clock and arrive by Kafka's; this is the most they may differ.
_CLOCK_DIFFERENCE: Final = timedelta(minutes=10)


def raw_complete_from(client: "Client") -> datetime | None:
    """The start of the first UTC day of which no raw row has left; None if none ever left.

    An event is stored after it occurred, and raw rows expire by the time they were stored. So a
    bucket that begins after the last expired row was stored is complete. Two bounds for that time:

    1. The table's retention: rows stored before it may have expired. (Imported history occurred
       long ago, but it was stored at the time of the import.)
    2. The rollups: an event that a rollup has, stored before the oldest raw row arrived, has left
       raw, by an earlier retention or by hand.

    A table younger than its retention has lost nothing to 1. A table whose first row came within a
    day of its creation has lost nothing to 2. There, history of any age is compared.

    `occurred_at` is the client's time. If its clock was ahead by more than a day, an event may lie
    in a bucket after the returned time although its raw row has left.
    """
    ((count, created_at),) = client.query(_sql("created_at")).result_rows
    created = created_at if count else None
    bounds = [_bound_by_retention(client, created), _bound_by_rollups(client, created)]
    return max((bound for bound in bounds if bound is not None), default=None)


def live_retention_days(client: "Client") -> int:
    """Days that the table keeps raw rows after they were stored; 0 is for ever."""
    tables = client.query(_sql("table_definitions")).result_rows
    # A TTL that usagepipe did not write (None) counts as the shortest one.
    days = [live_days(definition) for (definition,) in tables]
    return min((1 if each is None else each for each in days if each != 0), default=0)


def _bound_by_retention(client: "Client", created: datetime | None) -> datetime | None:
    days = live_retention_days(client)
    if not days:
        return None
    expired = datetime.now(UTC) - (days + 1) * _DAY
    return None if created is not None and created >= expired else _next_day(expired)


def _bound_by_rollups(client: "Client", created: datetime | None) -> datetime | None:
    ((rows, oldest),) = client.query(_sql("oldest_row")).result_rows
    moment: datetime = oldest if rows else datetime.now(UTC)
    if created is not None and moment <= created + _DAY:
        return None
    last = client.query(
        _sql("last_stored_before"), parameters={"before": moment - _CLOCK_DIFFERENCE}
    ).result_rows
    # A key in the next bucket may have lost some of its rows.
    return _next_day(last[0][0] + QUARTERS.width) if last else None


def _next_day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY

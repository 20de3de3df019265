"""chDB, ClickHouse's engine in a wheel, with ClickHouse's HTTP interface."""

from usagepipe.local.clickhouse.engine import Engine
from usagepipe.local.clickhouse.front import ClickHouseFront

__all__ = ["ClickHouseFront", "Engine"]

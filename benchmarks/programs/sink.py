"""What the loops share: where they read and write, and the cheapest insert there is.

The events' JSON goes to ClickHouse as it came: nothing is parsed, checked or added.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import clickhouse_connect

TABLE: Final = "usage_events"
SETTINGS: Final = {
    "async_insert": 0,
    "insert_deduplicate": 0,  # no token: the hash of each block is saved, too
    "date_time_input_format": "best_effort",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a loop reads, under which group, and where it writes."""

    kafka: str
    topic: str
    group: str
    host: str
    port: int
    database: str
    rows: int  # of a batch
    share: int  # of the partitions: those with number % shares == share
    shares: int

    @classmethod
    def of_arguments(cls) -> Self:
        """As the command line says."""
        parser = argparse.ArgumentParser()
        for name in ("kafka", "topic", "group", "host", "database"):
            parser.add_argument(f"--{name}", required=True)
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--rows", type=int, required=True)
        parser.add_argument("--share", type=int, default=0)
        parser.add_argument("--shares", type=int, default=1)
        return cls(**vars(parser.parse_args()))


class Sink:
    """Inserts events as they came. Threads may share it."""

    def __init__(self, place: Place) -> None:
        self._client: Final = clickhouse_connect.get_client(
            host=place.host,
            port=place.port,
            database=place.database,
            autogenerate_session_id=False,  # with one, inserts at once are refused
        )

    def insert(self, values: Iterable[bytes]) -> None:
        """Store the events; returns when they are."""
        self._client.raw_insert(
            TABLE, insert_block=b"\n".join(values), settings=SETTINGS, fmt="JSONEachRow"
        )

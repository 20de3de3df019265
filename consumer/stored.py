"""Reads the raw table for the worker's protocol: which offsets and which events it holds already.

Every look-up stays within a few granules: offsets by the table's order, ids by the index on their
bytes. A condition on the id as a UUID alone would read the whole column: ClickHouse orders that
type by its random half.
"""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TABLE: Final = "usage_events"

_RANGE: Final = (
    "kafka_topic_id = {topic_id:String} AND kafka_partition = {partition:UInt32}"
    " AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}"
)
_COPIES: Final = (
    "SELECT toString(event_id), kafka_topic_id, kafka_partition, kafka_offset"
    f" FROM {TABLE}"
    " PREWHERE UUIDToNum(event_id) BETWEEN UUIDStringToNum('{low}') AND UUIDStringToNum('{high}')"
    " AND event_id IN (SELECT arrayJoin(splitByChar(',', '{ids}'))::UUID)"
    " WHERE ingested_at >= now64(3) - toIntervalDay({days})"
)
_MAX_OFFSET: Final = 2**63 - 1  # Kafka's offsets are signed


class Copy(NamedTuple):
    """A stored row of an event: its id in canonical lower-case text, and its place in the log."""

    event_id: str
    topic_id: str
    partition: int
    offset: int


class StoredRows:
    """Reads the raw table. Several threads may read at once; it connects at the first read.

    All methods block, see every row whose insert was answered before the call, and raise whatever
    the client raises.
    """

    def __init__(self, address: ClickHouseAddress, seconds: float) -> None:
        """`seconds` is the most that one answer may take."""
        self._address = address
        self._seconds = seconds
        self._connecting = Lock()
        self._client: Client | None = None

    def copies(self, ids: Sequence[str], horizon_days: int) -> list[Copy]:
        """The rows of the last `horizon_days` days (by arrival in the log) with one of `ids`.

        `ids` are UUIDs in canonical lower-case text. In no order; an id that is stored twice is
        there twice.
        """
        if not ids:
            return []
        query = _COPIES.format(low=min(ids), high=max(ids), ids=",".join(ids), days=horizon_days)
        rows = self._rows(query, {}, max_query_size=2 * len(query) + 1000)
        return [Copy(*row) for row in rows]

    def offsets(self, topic_id: str, partition: int, first: int, last: int) -> list[int]:
        """The offsets `first` … `last` that are stored, sorted; one that is stored twice, twice."""
        query = f"SELECT kafka_offset FROM {TABLE} WHERE {_RANGE} ORDER BY kafka_offset"
        return [offset for (offset,) in self._range(query, topic_id, partition, first, last)]

    def count(self, topic_id: str, partition: int, first: int, last: int) -> int:
        """How many rows of the offsets `first` … `last` are stored."""
        query = f"SELECT count() FROM {TABLE} WHERE {_RANGE}"
        ((count,),) = self._range(query, topic_id, partition, first, last)
        return int(count)

    def last_offset(self, topic_id: str, partition: int, at_least: int) -> int | None:
        """The greatest stored offset that is `at_least` or more; None when there is none."""
        query = f"SELECT max(kafka_offset), count() FROM {TABLE} WHERE {_RANGE}"
        ((offset, count),) = self._range(query, topic_id, partition, at_least, _MAX_OFFSET)
        return int(offset) if count else None

    def close(self) -> None:
        """End the connections; the next read makes new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _range(
        self, query: str, topic_id: str, partition: int, first: int, last: int
    ) -> Sequence[Sequence[Any]]:
        return self._rows(
            query,
            {"topic_id": topic_id, "partition": partition, "first": first, "last": last},
        )

    def _rows(
        self, query: str, parameters: Mapping[str, object], **settings: int
    ) -> Sequence[Sequence[Any]]:
        result = self._connected().query(
            query,
            parameters=dict(parameters),
            settings={"select_sequential_consistency": 1, **settings},
        )
        rows: Sequence[Sequence[Any]] = result.result_rows
        return rows

    def _connected(self) -> "Client":
        with self._connecting:
            if self._client is None:
                self._client = connect(
                    self._address, connect_timeout=5, send_receive_timeout=self._seconds
                )
            return self._client

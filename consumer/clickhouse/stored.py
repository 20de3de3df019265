"""Reads the raw table for the worker's protocol: which offsets and which events it holds already.

A look-up of a batch's ids comes before every insert, so it must cost little beside it. The trap:
ClickHouse orders the type UUID by its random half. Only a condition on the id's bytes, which the
index is on, leaves most of the table unread.
"""

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from usagepipe.consumer.clickhouse.id_filter import fingerprint_in, packed_ids, window_of
from usagepipe.consumer.rows.rows import Place
from usagepipe.schemas.clickhouse.client import WHOLE_ANSWERS, connect
from usagepipe.schemas.clickhouse.usage_events import TABLE
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# A replica answers when it has what any other has confirmed.
# A stored event that an answer left out would seem to be absent.
_SETTINGS: Final[Mapping[str, int | str]] = {
    "select_sequential_consistency": 1,
    **WHOLE_ANSWERS,
}
_RANGE: Final = (
    "kafka_topic_id = {topic_id:String} AND kafka_partition = {partition:UInt32}"
    " AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}"
)
# The table's order backwards: the end is read, not all offsets.
_BACKWARDS: Final = "kafka_topic_id DESC, kafka_partition DESC, kafka_offset DESC"
# The fingerprints first: of the rows that they leave, which are few, the rest is read.
_EVENTS: Final = (
    "SELECT toString(event_id), kafka_topic_id, kafka_partition, kafka_offset"
    f" FROM {TABLE} PREWHERE {{fingerprint}}"
    " WHERE {window} AND ingested_at >= now64(3) - toIntervalDay({days})"
)
_EVENTS_SETTINGS: Final[Mapping[str, int]] = {
    "wait_end_of_query": 1,  # an error is then a status, never the end of an answer
    "output_format_json_quote_64bit_integers": 0,
    "use_query_condition_cache": 0,  # no two look-ups are alike
}
# A query of more would be longer than servers may allow, and have more wrong finds.
_MAX_IDS: Final = 100_000
NO_EPOCH: Final = 2**32  # beyond the column: every row has another
_MAX_OFFSET: Final = 2**63 - 1  # Kafka's offsets are signed


class StoredEvent(NamedTuple):
    """A stored row of an event: its id in canonical lower-case text, and its place in the log."""

    event_id: str
    topic_id: str
    partition: int
    offset: int


_read_events: Final = msgspec.json.Decoder(StoredEvent).decode_lines


def events_query(ids: Sequence[str], horizon_days: int) -> str:
    """The query of `StoredRows.events`; its rows have a few wrong ones among them."""
    sought = packed_ids(ids)
    return _EVENTS.format(
        fingerprint=fingerprint_in("event_id", sought),
        window=window_of("event_id", sought),
        days=horizon_days,
    )


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

    def events(self, ids: Sequence[str], horizon_days: int) -> list[StoredEvent]:
        """The rows of the last `horizon_days` days (by arrival in the log) with one of `ids`.

        `ids` are UUIDs in canonical lower-case text. In no order; an id that is stored twice is
        there twice.
        """
        return [
            each
            for start in range(0, len(ids), _MAX_IDS)
            for each in self._events(ids[start : start + _MAX_IDS], horizon_days)
        ]

    def _events(self, ids: Sequence[str], horizon_days: int) -> Iterator[StoredEvent]:
        query = events_query(ids, horizon_days)
        answer = self._connected().raw_query(
            query,
            settings={**_SETTINGS, **_EVENTS_SETTINGS, "max_query_size": 2 * len(query)},
            fmt="JSONCompactEachRow",
        )
        found = _read_events(answer)
        sought = {each.event_id for each in found}.intersection(ids)
        return (each for each in found if each.event_id in sought)

    def places(
        self, topic_id: str, partition: int, first: int, last: int, without_epoch: int = NO_EPOCH
    ) -> frozenset[Place]:
        """The rows at the offsets `first` … `last`.

        Rows that were written under the epoch `without_epoch` are left out.
        """
        query = (
            f"SELECT kafka_offset, toString(event_id) FROM {TABLE} WHERE {_RANGE}"
            f" AND batch_epoch != {int(without_epoch)}"
        )
        return frozenset(
            Place(offset, event_id)
            for offset, event_id in self._range(query, topic_id, partition, first, last)
        )

    def last_offset(self, topic_id: str, partition: int, at_least: int) -> int | None:
        """The greatest stored offset that is `at_least` or more; None when there is none."""
        query = f"SELECT kafka_offset FROM {TABLE} WHERE {_RANGE} ORDER BY {_BACKWARDS} LIMIT 1"
        rows = self._range(query, topic_id, partition, at_least, _MAX_OFFSET)
        return int(rows[0][0]) if rows else None

    def try_out(self) -> None:
        """Raise what the next look-up would: one that reads no row."""
        self.last_offset("", 0, 0)

    def server_started(self) -> int:
        """When the server that answers was started: Unix seconds, give or take one."""
        ((started,),) = self._rows("SELECT toInt64(toUnixTimestamp(now())) - uptime()", {})
        return int(started)

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

    def _rows(self, query: str, parameters: Mapping[str, object]) -> Sequence[Sequence[Any]]:
        result = self._connected().query(
            query,
            parameters=dict(parameters),
            settings=dict(_SETTINGS),
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

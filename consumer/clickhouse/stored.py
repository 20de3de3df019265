"""Reads which offsets and events the raw table holds already.

Every insert is preceded by a look-up of the batch's ids, so it must be cheap. ClickHouse orders the
type UUID by its random half: only a condition on the id's bytes, which have the index, avoids
reading most of the table.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from usagepipe.consumer.clickhouse.id_filter import fingerprint_in, packed_ids, window_of
from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.consumer.rows.rows import Place
from usagepipe.schemas.clickhouse.client import WHOLE_ANSWERS
from usagepipe.schemas.clickhouse.sql_files import read_sql
from usagepipe.schemas.settings import ClickHouseAddress

# A replica answers when it has the rows that any other replica has confirmed, and an answer is
# complete or an error: an event that it left out would be stored again.
READ_SETTINGS: Final[Mapping[str, int | str]] = {
    "select_sequential_consistency": 1,
    **WHOLE_ANSWERS,
}
_sql = partial(read_sql, "usagepipe.consumer.clickhouse")
_EVENTS_SETTINGS: Final[Mapping[str, int]] = {
    "wait_end_of_query": 1,  # an error is a status, not the end of an answer
    "output_format_json_quote_64bit_integers": 0,
    "use_query_condition_cache": 0,  # no two look-ups are alike
}
# With more ids a query could be too long for the server, and it finds more other events.
_MAX_IDS: Final = 100_000
NO_EPOCH: Final = 2**32  # greater than any epoch: excludes no row


class StoredEvent(NamedTuple):
    """A stored row of an event: its id in canonical lower-case text, and its place in the log."""

    event_id: str
    topic_id: str
    partition: int
    offset: int


_read_events: Final = msgspec.json.Decoder(StoredEvent).decode_lines


def events_query(ids: Sequence[str], horizon_days: int) -> str:
    """The query of `StoredRows.events`. It finds every event of `ids`, and a few others."""
    ids_bytes = packed_ids(ids)
    # Not `fill`, which is slow for words of some 300 KB. The longest word comes last.
    return (
        _sql("events_with_ids")
        .replace("${days}", str(int(horizon_days)))
        .replace("${window}", window_of("event_id", ids_bytes))
        .replace("${fingerprint}", fingerprint_in("event_id", ids_bytes))
    )


class StoredRows:
    """Reads the raw table. Threads may share it. It connects at the first read.

    All methods block, see every row whose insert was answered before the call, and raise the
    client's errors.
    """

    def __init__(self, address: ClickHouseAddress, seconds: float) -> None:
        """`seconds` is the timeout of one statement."""
        self._client = LazyClient(address, seconds)

    def events(self, ids: Sequence[str], horizon_days: int) -> list[StoredEvent]:
        """The rows of `ids` that arrived in the log within the last `horizon_days` days.

        `ids` are UUIDs as canonical lower-case text. The rows have no order. An id that is stored
        twice has two.
        """
        return [
            each
            for start in range(0, len(ids), _MAX_IDS)
            for each in self._events(ids[start : start + _MAX_IDS], horizon_days)
        ]

    def _events(self, ids: Sequence[str], horizon_days: int) -> Iterator[StoredEvent]:
        query = events_query(ids, horizon_days)
        answer = self._client.get().raw_query(
            query,
            settings={**READ_SETTINGS, **_EVENTS_SETTINGS, "max_query_size": 2 * len(query)},
            fmt="JSONCompactEachRow",
        )
        found = _read_events(answer)
        wanted = {each.event_id for each in found}.intersection(ids)
        return (each for each in found if each.event_id in wanted)

    def places(
        self, topic_id: str, partition: int, first: int, last: int, without_epoch: int = NO_EPOCH
    ) -> frozenset[Place]:
        """The rows at the offsets `first` … `last`, without those of the epoch `without_epoch`."""
        rows = self._rows(
            "places",
            topic_id=topic_id,
            partition=partition,
            first=first,
            last=last,
            without_epoch=without_epoch,
        )
        return frozenset(Place(offset, event_id) for offset, event_id in rows)

    def last_offset(self, topic_id: str, partition: int, at_least: int) -> int | None:
        """The greatest stored offset that is `at_least` or more; None if there is none."""
        rows = self._rows("last_offset", topic_id=topic_id, partition=partition, at_least=at_least)
        return int(rows[0][0]) if rows else None

    def try_out(self) -> None:
        """Raise what the next look-up would raise, by a look-up that finds no row."""
        self.last_offset("", 0, 0)

    def server_started(self) -> int:
        """When the server was started: Unix seconds, give or take one."""
        ((started,),) = self._rows("server_started")
        return int(started)

    def close(self) -> None:
        """End the connections. The next read connects again."""
        self._client.close()

    def _rows(self, name: str, **parameters: object) -> Sequence[Sequence[Any]]:
        return self._client.rows(_sql(name), parameters, READ_SETTINGS)

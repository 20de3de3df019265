"""What an audit asks the tables: offsets that are not there, and what is there twice.

One pass over the order of the log finds the blocks of offsets that are not full; only those are
read. Nothing here knows why an offset is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usagepipe.consumer.log.offset_ranges import OffsetRange, joined, ranges_of, without
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.usage_events import TABLE
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BLOCK: Final = 65_536  # offsets that are counted together
ROWS_AT_ONCE: Final = 20_000_000  # ids that are counted together: some GiB of the server's memory
# Whose names go into one parameter: a server takes 131,072 bytes of it (http_max_field_value_size),
# and a name may have 256 characters of 4.
PRODUCERS_AT_ONCE: Final = 100
MAX_NAMED: Final = 1_000  # of each kind that is told one by one

_OF_PARTITION: Final = "kafka_topic_id = {topic_id:String} AND kafka_partition = {partition:UInt32}"


class Double(NamedTuple):
    """An event that is stored more than once, and where: topic id, partition, offset."""

    event_id: str
    places: tuple[tuple[str, int, int], ...]


class StoredOffsets(NamedTuple):
    """Of the offsets from `first` to before `end`: how many are stored, which not, which twice."""

    stored: int
    missing: list[OffsetRange]
    doubled: list[OffsetRange]


class AuditRows:
    """Reads the raw table for one topic. Blocks; raises whatever the client raises."""

    def __init__(self, address: ClickHouseAddress, topic_id: str, seconds: float) -> None:
        """Connects at the first question. `seconds` is the most that one answer may take."""
        self._address = address
        self._topic_id = topic_id
        self._seconds = seconds
        self._client: Client | None = None

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def offsets(self, partition: int, first: int, end: int) -> StoredOffsets:
        """What is stored of the offsets `first` … `end` - 1."""
        blocks = self._blocks(partition, first, end)
        missing: list[OffsetRange] = []
        doubled: list[OffsetRange] = []
        stored = 0
        for whole, span in _spans(first, end, blocks):
            rows, distinct = whole
            stored += distinct
            if not distinct:
                missing.append(span)
            elif distinct < span.size:
                missing += without([span], self._distinct(partition, span))
            if rows > distinct:
                doubled += self._doubled(partition, span)
        return StoredOffsets(stored, joined(missing), joined(doubled))

    def count(self, partition: int, first: int, last: int) -> int:
        """How many different offsets of `first` … `last` are stored."""
        rows = self._rows(
            f"SELECT uniqExact(kafka_offset) FROM {TABLE} WHERE {_OF_PARTITION}"
            " AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}",
            {"partition": partition, "first": first, "last": last},
        )
        return int(rows[0][0])

    def arrived_before(self, partition: int, first: int, end: int, moment: datetime) -> list[int]:
        """Of the offsets `first` … `end` - 1, those with a row that arrived before `moment`."""
        rows = self._rows(
            f"SELECT DISTINCT kafka_offset FROM {TABLE} WHERE {_OF_PARTITION}"
            " AND kafka_offset >= {first:UInt64} AND kafka_offset < {end:UInt64}"
            " AND ingested_at < fromUnixTimestamp64Milli({moment:Int64}) ORDER BY kafka_offset",
            {
                "partition": partition,
                "first": first,
                "end": end,
                "moment": int(moment.timestamp() * 1000),
            },
        )
        return [offset for (offset,) in rows]

    def offsets_from(self, partition: int, first: int) -> list[int]:
        """The stored offsets from `first` on, in order."""
        rows = self._rows(
            f"SELECT DISTINCT kafka_offset FROM {TABLE} WHERE {_OF_PARTITION}"
            " AND kafka_offset >= {first:UInt64} ORDER BY kafka_offset",
            {"partition": partition, "first": first},
        )
        return [offset for (offset,) in rows]

    def first(self, partition: int) -> int | None:
        """The first offset that is stored; None for none."""
        ((first, count),) = self._rows(
            f"SELECT min(kafka_offset), count() FROM {TABLE} WHERE {_OF_PARTITION}",
            {"partition": partition},
        )
        return int(first) if count else None

    def by_bounds(self, partition: int, bounds: Sequence[int], end: int) -> dict[int, int]:
        """How many offsets are stored from each of the ordered `bounds` to the next, the last to
        before `end`."""
        rows = self._rows(
            "SELECT roundDown(kafka_offset, {bounds:Array(UInt64)}) AS bound,"
            f" uniqExact(kafka_offset) FROM {TABLE} WHERE {_OF_PARTITION}"
            " AND kafka_offset >= {first:UInt64} AND kafka_offset < {end:UInt64} GROUP BY bound",
            {"partition": partition, "bounds": list(bounds), "first": bounds[0], "end": end},
        )
        return {int(bound): int(count) for bound, count in rows}

    def doubles(self) -> tuple[int, list[Double]]:
        """How many ids stand more than once, in any topic, and the first of them with places."""
        ((total,),) = self._rows(f"SELECT count() FROM {TABLE}", {})
        shares = total // ROWS_AT_ONCE + 1
        extra, found = 0, []
        for share in range(shares):
            share_of = f"WHERE modulo(cityHash64(event_id), {shares}) = {share}"
            where = share_of if shares > 1 else ""  # four times the cost
            ((more,),) = self._rows(
                f"SELECT count() - uniqExact(event_id) FROM {TABLE} {where}", {}
            )
            if more:
                extra += more
                found += self._named_doubles(where)
        return extra, found[:MAX_NAMED]

    def missing_sequences(self, from_one: bool) -> dict[str, list[OffsetRange]]:
        """Producers' numbers that no stored event has, up to each producer's last stored one.

        `from_one`: also those before its first stored one, as numbers count from 1.
        """
        producers = self._rows(
            f"SELECT producer_id, {_least(from_one)} AS least, max(sequence) FROM {TABLE}"
            " WHERE producer_id != '' AND isNotNull(sequence)"
            " GROUP BY producer_id"
            # As many as there are numbers, and of their sum: at a fifth of the cost of telling
            # them apart.
            " HAVING count() != max(sequence) - least + 1"
            " OR sum(sequence) != intDiv(toUInt128(count()) * (least + max(sequence)), 2)"
            f" ORDER BY producer_id LIMIT {MAX_NAMED}",
            {},
        )
        missing = {
            producer: list(self._missing_numbers(producer, first))
            for producer, first, _ in producers
        }
        # None: a number was only given twice.
        return {producer: ranges for producer, ranges in missing.items() if ranges}

    def stored_sequences(self, producers: Sequence[str], from_one: bool) -> dict[str, OffsetRange]:
        """From where to where `missing_sequences` looks, for those of `producers` with rows."""
        spans: dict[str, OffsetRange] = {}
        for start in range(0, len(producers), PRODUCERS_AT_ONCE):
            rows = self._rows(
                f"SELECT producer_id, {_least(from_one)}, max(sequence) FROM {TABLE}"
                " WHERE producer_id IN {producers:Array(String)} AND isNotNull(sequence)"
                " GROUP BY producer_id",
                {"producers": producers[start : start + PRODUCERS_AT_ONCE]},
            )
            spans |= {name: OffsetRange(int(first), int(last)) for name, first, last in rows}
        return spans

    def _blocks(self, partition: int, first: int, end: int) -> Mapping[int, tuple[int, int]]:
        rows = self._rows(
            f"SELECT intDiv(kafka_offset, {BLOCK}) AS block, count(), uniqExact(kafka_offset)"
            f" FROM {TABLE} WHERE {_OF_PARTITION}"
            " AND kafka_offset >= {first:UInt64} AND kafka_offset < {end:UInt64} GROUP BY block",
            {"partition": partition, "first": first, "end": end},
        )
        return {int(block): (int(count), int(distinct)) for block, count, distinct in rows}

    def _distinct(self, partition: int, span: OffsetRange) -> list[int]:
        rows = self._rows(
            f"SELECT DISTINCT kafka_offset FROM {TABLE} WHERE {_OF_PARTITION}"
            " AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}",
            {"partition": partition, "first": span.first, "last": span.last},
        )
        return [offset for (offset,) in rows]

    def _doubled(self, partition: int, span: OffsetRange) -> list[OffsetRange]:
        rows = self._rows(
            f"SELECT kafka_offset FROM {TABLE} WHERE {_OF_PARTITION}"
            " AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}"
            " GROUP BY kafka_offset HAVING count() > 1 ORDER BY kafka_offset",
            {"partition": partition, "first": span.first, "last": span.last},
        )
        return ranges_of(offset for (offset,) in rows)

    def _named_doubles(self, where: str) -> list[Double]:
        rows = self._rows(
            "SELECT toString(event_id),"
            " groupArray(10)((toString(kafka_topic_id), kafka_partition, kafka_offset))"
            f" FROM {TABLE} WHERE event_id IN (SELECT event_id FROM {TABLE} {where}"
            f" GROUP BY event_id HAVING count() > 1 ORDER BY event_id LIMIT {MAX_NAMED})"
            " GROUP BY event_id ORDER BY event_id",
            {},
        )
        return [Double(event_id, tuple(map(tuple, places))) for event_id, places in rows]

    def _missing_numbers(self, producer: str, least: int) -> Iterator[OffsetRange]:
        rows = self._rows(
            "SELECT before + 1, sequence - 1 FROM (SELECT sequence, lagInFrame(sequence, 1,"
            " {before:UInt64}) OVER (ORDER BY sequence ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)"
            f" AS before FROM (SELECT DISTINCT assumeNotNull(sequence) AS sequence FROM {TABLE}"
            " WHERE producer_id = {producer:String} AND isNotNull(sequence)))"
            f" WHERE sequence > before + 1 ORDER BY 1 LIMIT {MAX_NAMED}",
            {"producer": producer, "before": max(0, int(least) - 1)},
        )
        return (OffsetRange(int(first), int(last)) for first, last in rows)

    def _rows(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        if self._client is None:
            self._client = connect(
                self._address, connect_timeout=5, send_receive_timeout=self._seconds
            )
        result = self._client.query(
            sql,
            parameters={"topic_id": self._topic_id, **parameters},
            settings={"select_sequential_consistency": 1},
        )
        rows: Sequence[Sequence[Any]] = result.result_rows
        return rows


def _least(from_one: bool) -> str:
    return "1" if from_one else "min(sequence)"


def _spans(
    first: int, end: int, blocks: Mapping[int, tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], OffsetRange]]:
    """The offsets `first` … `end` - 1 cut at the borders of blocks, with each block's counts."""
    for block in range(first // BLOCK, (end - 1) // BLOCK + 1 if first < end else 0):
        span = OffsetRange(max(first, block * BLOCK), min(end, (block + 1) * BLOCK) - 1)
        if first < end:
            yield blocks.get(block, (0, 0)), span

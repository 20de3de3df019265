"""What an audit reads from the raw table: missing offsets, offsets and events stored twice.

One pass in the order of the log finds the blocks of offsets that are incomplete, and only those are
read. Nothing here knows why an offset is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.consumer.log.offset_ranges import OffsetRange, joined, ranges_of, without
from usagepipe.schemas.clickhouse.sql_files import fill, read_sql

BLOCK: Final = 65_536  # offsets that are counted together
ROWS_AT_ONCE: Final = 20_000_000  # ids that are counted together: some GiB of the server's memory
# Producers in one parameter: a server accepts 131,072 bytes of it (http_max_field_value_size), and
# a name may have 256 characters of 4 bytes.
PRODUCERS_AT_ONCE: Final = 100
MAX_OFFSET: Final = 2**63 - 1  # Kafka's offsets are signed
MAX_NAMED: Final = 1_000  # findings of each kind that are listed one by one

_sql = partial(read_sql, "usagepipe.consumer.maintenance")
# A share of all events, by their ids.
SHARE: Final = "modulo(cityHash64(event_id), {shares:UInt64}) = {share:UInt64}"


class StoredTwice(NamedTuple):
    """An event that is stored more than once, and where: topic id, partition, offset."""

    event_id: str
    places: tuple[tuple[str, int, int], ...]


class StoredOffsets(NamedTuple):
    """Of a range of offsets: how many are stored, which are missing, which are stored twice."""

    stored: int
    missing: list[OffsetRange]
    doubled: list[OffsetRange]


class AuditQueries:
    """Reads the raw table for one topic. Blocks, and raises the client's errors."""

    def __init__(self, client: LazyClient, topic_id: str) -> None:
        self._client = client
        self._topic_id = topic_id

    def offsets(self, partition: int, first: int, end: int) -> StoredOffsets:
        """What is stored of the offsets `first` … `end` - 1."""
        missing: list[OffsetRange] = []
        doubled: list[OffsetRange] = []
        stored = 0
        for (rows, distinct), span in _spans(first, end, self._blocks(partition, first, end)):
            stored += distinct
            if not distinct:
                missing.append(span)
            elif distinct < span.size:
                missing += without([span], self._in_span("offsets_between", partition, span))
            if rows > distinct:
                doubled += ranges_of(self._in_span("offsets_stored_twice", partition, span))
        return StoredOffsets(stored, joined(missing), joined(doubled))

    def count(self, partition: int, first: int, last: int) -> int:
        """How many different offsets of `first` … `last` are stored."""
        ((count,),) = self._rows("count_offsets", partition=partition, first=first, last=last)
        return int(count)

    def arrived_before(self, partition: int, first: int, end: int, moment: datetime) -> list[int]:
        """Of the offsets `first` … `end` - 1, those with a row that arrived before `moment`."""
        milliseconds = int(moment.timestamp() * 1000)
        rows = self._rows(
            "offsets_arrived_before",
            partition=partition,
            first=first,
            end=end,
            moment=milliseconds,
        )
        return [offset for (offset,) in rows]

    def offsets_from(self, partition: int, first: int) -> list[int]:
        """The stored offsets from `first` on, in order."""
        return self._in_span("offsets_between", partition, OffsetRange(first, MAX_OFFSET))

    def first(self, partition: int) -> int | None:
        """The first stored offset; None if the partition has no rows."""
        ((first, count),) = self._rows("first_offset", partition=partition)
        return int(first) if count else None

    def stored_twice(self) -> tuple[int, list[StoredTwice]]:
        """How many rows there are beyond one for each event of any topic; the first such events."""
        ((total,),) = self._rows("count_rows")
        shares = total // ROWS_AT_ONCE + 1
        words = {"share": SHARE if shares > 1 else "1"}  # the condition costs four times as much
        extra: int = 0
        found: list[StoredTwice] = []
        for share in range(shares):
            of_share = {"shares": shares, "share": share} if shares > 1 else {}
            ((more,),) = self._rows("count_extra_rows", words, **of_share)
            if more:
                extra += more
                rows = self._rows("events_stored_twice", words, limit=MAX_NAMED, **of_share)
                found += [StoredTwice(name, tuple(map(tuple, places))) for name, places in rows]
        return extra, found[:MAX_NAMED]

    def missing_sequences(self, from_one: bool) -> dict[str, list[OffsetRange]]:
        """Sequence numbers that no stored event has, up to the last stored one of each producer.

        `from_one` includes numbers before the first stored one, because sequences start at 1.
        """
        found: dict[str, list[OffsetRange]] = {}
        producers = self._rows("producers_with_gaps", first_number(from_one), limit=MAX_NAMED)
        for producer, first, _ in producers:
            before = max(0, int(first) - 1)
            rows = self._rows(
                "missing_sequences", producer=producer, before=before, limit=MAX_NAMED
            )
            if rows:  # without missing numbers, the producer used one number twice
                found[producer] = [OffsetRange(int(first), int(last)) for first, last in rows]
        return found

    def stored_sequences(self, producers: Sequence[str], from_one: bool) -> dict[str, OffsetRange]:
        """The span in which `missing_sequences` looks, for those of `producers` with rows."""
        spans: dict[str, OffsetRange] = {}
        for start in range(0, len(producers), PRODUCERS_AT_ONCE):
            some = producers[start : start + PRODUCERS_AT_ONCE]
            rows = self._rows("sequence_spans", first_number(from_one), producers=some)
            spans |= {name: OffsetRange(int(first), int(last)) for name, first, last in rows}
        return spans

    def _blocks(self, partition: int, first: int, end: int) -> Mapping[int, tuple[int, int]]:
        rows = self._rows(
            "blocks_of_offsets", partition=partition, first=first, end=end, block=BLOCK
        )
        return {int(block): (int(count), int(distinct)) for block, count, distinct in rows}

    def _in_span(self, name: str, partition: int, span: OffsetRange) -> list[int]:
        rows = self._rows(name, partition=partition, first=span.first, last=span.last)
        return [offset for (offset,) in rows]

    def _rows(
        self, name: str, words: Mapping[str, str] | None = None, /, **parameters: Any
    ) -> Sequence[Sequence[Any]]:
        return self._client.rows(
            fill(_sql(name), words or {}),
            {"topic_id": self._topic_id, **parameters},
            {"select_sequential_consistency": 1},
        )


def first_number(from_one: bool) -> dict[str, str]:
    """The word `first`: the number at which a sequence starts."""
    return {"first": "1" if from_one else "min(sequence)"}


def _spans(
    first: int, end: int, blocks: Mapping[int, tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], OffsetRange]]:
    """The offsets `first` … `end` - 1, cut at the borders of blocks, with each block's counts."""
    for block in range(first // BLOCK, (end - 1) // BLOCK + 1 if first < end else 0):
        span = OffsetRange(max(first, block * BLOCK), min(end, (block + 1) * BLOCK) - 1)
        yield blocks.get(block, (0, 0)), span

"""Finds records of the log that the tables lack, and stores their rows, for `audit` and `replay`.

Only offsets below the workers' committed offset may come here. The rest is the workers' to store,
with other tokens. `store_missing` returns the days for `rebuild_rollups`: the rollups may have
counted the rows before.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Final, NamedTuple

from usagepipe.consumer.clickhouse.prices import StoredPrices
from usagepipe.consumer.clickhouse.stored import StoredRows
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.log.records import Record, TopicPartition
from usagepipe.consumer.maintenance.consumed_topic import STATEMENT_SECONDS, ConsumedTopic
from usagepipe.consumer.rollups.raw_retention import raw_complete_from
from usagepipe.consumer.rollups.rebuild import rebuild_rollups
from usagepipe.consumer.rollups.tables import RollupTables
from usagepipe.consumer.rollups.verification import Difference, find_differences
from usagepipe.consumer.rows.pricing import Pricing
from usagepipe.consumer.rows.rows import Place, Rejected, Rows, encode_rows, price_lines
from usagepipe.consumer.runtime.causes import brief
from usagepipe.schemas.clickhouse.client import error_code
from usagepipe.schemas.clickhouse.sql_files import read_sql
from usagepipe.schemas.errors import UsagePipeError
from usagepipe.schemas.event import EARLIEST, LATEST

# Marks the rows written here: no worker's epoch gets this high. If such a row is stored already, an
# earlier run may have ended before its rollups were rebuilt.
EPOCH: Final = 2**32 - 1
ANY_AGE: Final = 36_500  # days
_TRIES: Final = 5
_DAY: Final = timedelta(days=1)

_sql = partial(read_sql, "usagepipe.consumer.maintenance")


class MissingRow(NamedTuple):
    """A record whose event is nowhere in the table, with its row ready to be inserted."""

    offset: int
    event_id: str
    day: datetime  # UTC, on which the event occurred
    row: bytes


@dataclass(frozen=True, slots=True)
class Findings:
    """What the tables have of some records of one partition."""

    partition: int
    stored: int
    duplicates: tuple[int, ...]  # offsets whose event is stored at another place
    rejected: tuple[Rejected, ...]  # not events
    missing: tuple[MissingRow, ...]
    suspect_days: frozenset[datetime]  # days whose rollups may lack rows that are stored
    # Offsets whose event may have been stored and whose row may have expired since. The rollups
    # would still count it, which nothing can show, so they are never missing.
    raw_expired: tuple[int, ...] = ()
    dead_lettered: int = 0  # events with a dead letter, taken out of `missing` by the caller


class RowRepair:
    """Compares the log of one topic with its rows, and repairs them. One thread; close it."""

    def __init__(self, topic: ConsumedTopic) -> None:
        """Connects at the first call."""
        self._topic = topic
        address = topic.settings.clickhouse_address
        self._stored = StoredRows(address, STATEMENT_SECONDS)
        self._writer = Writer(address, STATEMENT_SECONDS)
        self._rollups = RollupTables(address, STATEMENT_SECONDS)
        self._prices = StoredPrices(address, STATEMENT_SECONDS)

    def close(self) -> None:
        for each in (self._stored, self._writer, self._rollups, self._prices):
            each.close()

    def stored_places(self, partition: int, span: OffsetRange) -> frozenset[Place]:
        """The rows at the offsets of `span`."""
        return self._stored.places(self._topic.topic_id, partition, span.first, span.last)

    def event_places(self, partition: int, records: Sequence[Record]) -> frozenset[Place]:
        """The places of the events among `records`."""
        return self._encode(partition, records).places

    def compare(self, partition: int, records: Sequence[Record]) -> Findings:
        """What the tables have and lack of `records`, which are in order. Changes nothing."""
        span = OffsetRange(records[0].offset, records[-1].offset)
        rows = self._encode(partition, records)
        stored = {place.offset for place in rows.places & self.stored_places(partition, span)}
        absent = [record for record in records if record.offset not in stored]
        events = _as_missing(rows.without(stored))
        copies = self._stored.events([each.event_id for each in events], ANY_AGE)
        elsewhere = {copy.event_id for copy in copies}
        nowhere = [each for each in events if each.event_id not in elsewhere]
        old = self._older_than_raw(absent) if nowhere else frozenset()
        expired = {each.event_id for each in nowhere if each.offset in old}
        missing: dict[str, MissingRow] = {}
        for each in nowhere:
            if each.event_id not in expired:
                missing.setdefault(each.event_id, each)  # the same event twice: the first counts
        offsets = {each.offset for each in missing.values()}
        others = [each for each in events if each.offset not in offsets]
        return Findings(
            partition,
            len(records) - len(absent),
            tuple(each.offset for each in others if each.event_id not in expired),
            rows.rejected,
            tuple(missing.values()),
            self._days_written(partition, span) if stored else frozenset(),
            tuple(each.offset for each in others if each.event_id in expired),
        )

    def store_missing(self, found: Findings) -> frozenset[datetime]:
        """Store the missing rows; returns the days whose rollups must be rebuilt.

        Raises:
            UsagePipeError: ClickHouse refuses the rows, or accepts them and does not have them.
        """
        offsets = {each.offset for each in found.missing}
        if not offsets:
            return found.suspect_days
        lines = price_lines([each.row for each in found.missing], self._pricing)
        priced = {each.offset: line for each, line in zip(found.missing, lines, strict=True)}
        # 1. Insert with a token that only these rows have. Two runs at once store them once, and so
        #    does a run that is repeated while its insert still runs. A crash after this step leaves
        #    rows that the next run recognizes by their epoch, and whose days it rebuilds.
        # 2. Check that they are stored: the server also remembers tokens of rows that were deleted
        #    since. Then the same rows are inserted again, with the next token.
        for attempt in range(_TRIES):
            left = [each for each in found.missing if each.offset in offsets]
            body = b"\n".join(priced[each.offset] for each in left)
            self._insert(body, self._token(found, left, attempt))
            span = OffsetRange(left[0].offset, left[-1].offset)
            stored = self.stored_places(found.partition, span)
            offsets -= {each.offset for each in left if (each.offset, each.event_id) in stored}
            if not offsets:
                # 3. The rollups may have counted these events before: rebuild their days.
                return found.suspect_days | {each.day for each in found.missing}
        raise UsagePipeError(
            f"{self._topic.settings.topic}, partition {found.partition}: {len(offsets)} rows from "
            f"offset {min(offsets)} on were inserted {_TRIES} times and are not stored."
        )

    def rebuild_rollups(self, days: Iterable[datetime], wait_seconds: float) -> int:
        """Make the rollups of these UTC days equal to raw; returns the number of added rows.

        Raises:
            RollupsBusyError: they were being written for `wait_seconds`.
        """
        unsettled = self._topic.unsettled
        return sum(
            rebuild_rollups(self._rollups, day, day + _DAY, wait_seconds, unsettled)
            for day in sorted(days)
        )

    def rollup_differences(self, wait_seconds: float) -> list[Difference]:
        """The differences between the rollups and raw. Changes nothing.

        Raises:
            RollupsBusyError: they were being written for `wait_seconds`.
        """
        unsettled = self._topic.unsettled
        return find_differences(self._rollups, EARLIEST, LATEST, wait_seconds, unsettled)

    def _encode(self, partition: int, records: Sequence[Record]) -> Rows:
        place = TopicPartition(self._topic.settings.topic, partition)
        return encode_rows(records, place, self._topic.topic_id, EPOCH)

    @cached_property
    def _pricing(self) -> Pricing:
        """The prices of all rows that one run stores: those of the active book."""
        pricing = self._prices.active(self._topic.settings.cost)
        self._prices.keep(pricing)
        return pricing

    def _insert(self, body: bytes, token: str) -> None:
        try:
            self._writer.insert(body, token)
        except Exception as error:
            if error_code(error) is None:
                raise  # not an answer of the server: the rows may be stored
            # The message quotes the refused values, which may be confidential.
            raise UsagePipeError(
                f"ClickHouse did not accept all of the block {token}: {brief(error)}. Run it again:"
                " it finds the rows that were stored, and rebuilds their rollups."
            ) from None

    def _older_than_raw(self, records: Iterable[Record]) -> frozenset[int]:
        """The offsets of records that arrived before raw is complete.

        Call it after the rows were read, because rows expire meanwhile.
        """
        complete_from = raw_complete_from(self._topic.client.get())
        if complete_from is None:
            return frozenset()
        first = complete_from.timestamp() * 1000
        return frozenset(record.offset for record in records if record.timestamp < first)

    def _days_written(self, partition: int, span: OffsetRange) -> frozenset[datetime]:
        parameters = {
            "topic_id": self._topic.topic_id,
            "partition": partition,
            "first": span.first,
            "last": span.last,
            "epoch": EPOCH,
        }
        rows = self._topic.client.rows(
            _sql("days_written_by_repair"), parameters, {"select_sequential_consistency": 1}
        )
        return frozenset(day for (day,) in rows)

    def _token(self, found: Findings, rows: Sequence[MissingRow], attempt: int) -> str:
        names = ",".join(f"{each.offset}:{each.event_id}" for each in rows)
        digest = hashlib.sha256(names.encode()).hexdigest()[:32]
        span = f"{rows[0].offset}-{rows[-1].offset}"
        return f"{self._topic.topic_id}:{found.partition}:{span}:replay:{digest}:{attempt}"


def start_of_day(moment: datetime) -> datetime:
    """Midnight UTC of the day of `moment`."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _as_missing(rows: Rows) -> list[MissingRow]:
    """All rows, as if each was missing."""
    facts = zip(rows.offsets, rows.ids, rows.moments(), bytes(rows.body).splitlines(), strict=True)
    return [
        MissingRow(offset, event_id, start_of_day(moment), line)
        for offset, event_id, moment, line in facts
    ]

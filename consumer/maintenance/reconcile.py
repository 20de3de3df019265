"""Writes records of the log that the tables lack, and nothing else: for `audit --repair`, `replay`.

Only what lies below the workers' committed offset may come here: the rest is theirs to store, under
other tokens. What was written is followed by `heal`: the rows may have been in the rollups before.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Self, cast

from confluent_kafka import Message

from usagepipe.consumer.clickhouse.stored import Copy, StoredRows
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.log.records import Record, TopicPartition
from usagepipe.consumer.rollups.raw_retention import raw_complete_from
from usagepipe.consumer.rollups.rebuild import RollupRebuilder
from usagepipe.consumer.rollups.tables import Unsettled
from usagepipe.consumer.rows.rows import Place, Rejected, Rows, encode_rows
from usagepipe.consumer.runtime.causes import brief
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.clickhouse.client import connect, error_code
from usagepipe.schemas.clickhouse.usage_events import TABLE
from usagepipe.schemas.errors import UsagePipeError
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Rows that were written here are known by their epoch: no worker counts that far. If one is found
# to be stored already, an earlier run may have ended between it and its views.
EPOCH: Final = 2**32 - 1
BATCH_RECORDS: Final = 20_000
BATCH_BYTES: Final = 32 << 20
ANY_AGE: Final = 36_500  # days
_TRIES: Final = 5
_DAY: Final = timedelta(days=1)


class LogRecord(NamedTuple):
    """A record as `LogReader` gave it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @classmethod
    def of(cls, message: Message) -> Self:
        # The client's types allow text where only bytes come back, and an offset to be missing.
        key, value = cast(tuple[bytes | None, ...], (message.key(), message.value()))
        return cls(cast(int, message.offset()), message.timestamp()[1], key, value)


class Lacking(NamedTuple):
    """A record whose event is nowhere in the table: its row, ready to be inserted."""

    offset: int
    event_id: str
    day: datetime  # UTC, of its time of occurrence
    row: bytes


@dataclass(frozen=True, slots=True)
class Findings:
    """What the tables have of some records of one partition."""

    partition: int
    stored: int
    copies: tuple[int, ...]  # offsets whose event is stored at another place
    rejected: tuple[Rejected, ...]  # no events
    lacking: tuple[Lacking, ...]
    doubtful: frozenset[datetime]  # days whose rollups may lack rows that are stored
    # Offsets whose event may have been stored, and its row have left by raw's retention since. The
    # rollups still hold it then, and nothing could tell that they do: it is never lacking.
    raw_expired: tuple[int, ...] = ()
    dead_lettered: int = (
        0  # events that have a dead letter; taken out of `lacking` by who knows them
    )


@dataclass(slots=True)
class Reconciler:
    """Of one topic. Use it in one thread and close it."""

    address: ClickHouseAddress
    topic: str
    topic_id: str
    seconds: float  # that one statement may take
    unsettled: Unsettled
    _stored: StoredRows = field(init=False)
    _writer: Writer = field(init=False)
    _rollups: RollupRebuilder = field(init=False)
    _client: "Client | None" = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._stored = StoredRows(self.address, self.seconds)
        self._writer = Writer(self.address, self.seconds)
        self._rollups = RollupRebuilder(self.address, self.seconds)

    def close(self) -> None:
        for each in (self._stored, self._writer, self._rollups):
            each.close()
        if self._client is not None:
            self._client.close()

    def stored(self, partition: int, span: OffsetRange) -> frozenset[Place]:
        """The rows at the offsets of `span`."""
        return self._stored.places(self.topic_id, partition, span.first, span.last)

    def places(self, partition: int, records: Sequence[Record]) -> frozenset[Place]:
        """Where the events among `records` stand."""
        return self._encoded(partition, records).places

    def look(self, partition: int, records: Sequence[Record]) -> Findings:
        """What the tables have and lack of `records`, which are in order. Changes nothing."""
        if not records:
            return Findings(partition, 0, (), (), (), frozenset())
        first, last = records[0].offset, records[-1].offset
        rows = self._encoded(partition, records)
        there = self.stored(partition, OffsetRange(first, last))
        stored = {place.offset for place in rows.places & there}
        absent = [record for record in records if record.offset not in stored]
        events = _lacking(rows.without(stored))
        copies = {copy.event_id for copy in self._copies([each.event_id for each in events])}
        nowhere = [each for each in events if each.event_id not in copies]
        old = self._older_than_raw(absent) if nowhere else frozenset()
        expired = {each.event_id for each in nowhere if each.offset in old}
        lacking: dict[str, Lacking] = {}
        for each in nowhere:
            if each.event_id not in expired:
                lacking.setdefault(each.event_id, each)  # the same event twice: the first counts
        offsets = {each.offset for each in lacking.values()}
        others = [each for each in events if each.offset not in offsets]
        return Findings(
            partition,
            len(records) - len(absent),
            tuple(each.offset for each in others if each.event_id not in expired),
            rows.rejected,
            tuple(lacking.values()),
            self._written_before(partition, first, last) if stored else frozenset(),
            tuple(each.offset for each in others if each.event_id in expired),
        )

    def write(self, found: Findings) -> frozenset[datetime]:
        """Store what is lacking; returns the days to `heal`.

        Raises:
            UsagePipeError: the server refuses the rows, or takes them and then has them not.
        """
        offsets = {each.offset for each in found.lacking}
        if not offsets:
            return found.doubtful
        # 1. Insert under a token that the same rows alone have: two runs at once, or one that is
        #    repeated while its insert still runs, store them once. A crash after it leaves rows
        #    that are found by their epoch, and whose days the next run heals.
        # 2. Look whether they are there: the server remembers tokens of rows that were deleted
        #    since. Then the same rows are new, under the next token.
        for attempt in range(_TRIES):
            left = [each for each in found.lacking if each.offset in offsets]
            body = b"\n".join(each.row for each in left)
            self._insert(body, self._token(found.partition, left, attempt))
            first, last = left[0].offset, left[-1].offset
            there = self.stored(found.partition, OffsetRange(first, last))
            offsets -= {each.offset for each in left if (each.offset, each.event_id) in there}
            if not offsets:
                # 3. The rollups may have held these events all along: the days are to be healed.
                return found.doubtful | {each.day for each in found.lacking}
        raise UsagePipeError(
            f"{self.topic}, partition {found.partition}: {len(offsets)} rows from offset "
            f"{min(offsets)} on were inserted {_TRIES} times and are not there."
        )

    def _encoded(self, partition: int, records: Sequence[Record]) -> Rows:
        return encode_rows(records, TopicPartition(self.topic, partition), self.topic_id, EPOCH)

    def _insert(self, body: bytes, token: str) -> None:
        try:
            self._writer.insert(body, token)
        except Exception as error:
            if error_code(error) is None:
                raise  # no server's answer: the rows may or may not be stored
            # Its text quotes what it refuses, and what users wrote must not be told.
            raise UsagePipeError(
                f"ClickHouse took not all of the block {token}: {brief(error)}. Run it again: what "
                "landed is known, and its rollups are healed."
            ) from None

    def heal(self, days: Iterable[datetime], wait_seconds: float) -> int:
        """Make the rollups of the UTC days equal to raw; the number of corrections.

        Raises:
            RollupsBusyError: they were being written for `wait_seconds`.
        """
        return sum(
            self._rollups.rebuild(day, day + _DAY, wait_seconds, unsettled=self.unsettled)
            for day in sorted(days)
        )

    def _copies(self, ids: Sequence[str]) -> list[Copy]:
        return self._stored.copies(ids, ANY_AGE)

    def _older_than_raw(self, records: Iterable[Record]) -> frozenset[int]:
        """The offsets of those that arrived before raw is whole.

        To be asked after their rows were looked for: retention goes on meanwhile.
        """
        kept = raw_complete_from(self._connected())
        if kept is None:
            return frozenset()
        first = kept.timestamp() * 1000
        return frozenset(record.offset for record in records if record.timestamp < first)

    def _written_before(self, partition: int, first: int, last: int) -> frozenset[datetime]:
        result = self._connected().query(
            "SELECT DISTINCT toStartOfDay(toDateTime(occurred_at, 'UTC'))"
            f" FROM {TABLE} WHERE kafka_topic_id = {{topic_id:String}}"
            " AND kafka_partition = {partition:UInt32}"
            " AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}"
            " AND batch_epoch = {epoch:UInt32}",
            parameters={
                "topic_id": self.topic_id,
                "partition": partition,
                "first": first,
                "last": last,
                "epoch": EPOCH,
            },
            settings={"select_sequential_consistency": 1},
        )
        return frozenset(day for (day,) in result.result_rows)

    def _connected(self) -> "Client":
        if self._client is None:
            self._client = connect(
                self.address, connect_timeout=5, send_receive_timeout=self.seconds
            )
        return self._client

    def _token(self, partition: int, rows: Sequence[Lacking], attempt: int) -> str:
        names = ",".join(f"{each.offset}:{each.event_id}" for each in rows)
        digest = hashlib.sha256(names.encode()).hexdigest()[:32]
        span = f"{rows[0].offset}-{rows[-1].offset}"
        return f"{self.topic_id}:{partition}:{span}:replay:{digest}:{attempt}"


def batches(reader: LogReader, partition: int, span: OffsetRange) -> Iterable[list[LogRecord]]:
    """The records of `span`, in batches that end at fixed offsets, wherever `span` begins.

    So two runs cut alike, and make the same tokens.
    """
    batch: list[LogRecord] = []
    size = 0
    for message in reader.read(partition, span.first, span.last + 1):
        record = LogRecord.of(message)
        whole = batch and record.offset // BATCH_RECORDS != batch[0].offset // BATCH_RECORDS
        if whole or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.value or b"")
    if batch:
        yield batch


def _lacking(rows: Rows) -> list[Lacking]:
    """All rows, as if each was lacking."""
    facts = zip(rows.offsets, rows.ids, rows.moments(), bytes(rows.body).splitlines(), strict=True)
    return [
        Lacking(offset, event_id, _day(moment), line) for offset, event_id, moment, line in facts
    ]


def _day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

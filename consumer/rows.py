"""Turns the records of a batch into the rows that ClickHouse stores, one line of JSON each.

The event's model is the contract and `schemas.decode` its judge; it takes 8 µs an event. So the
records are first read by a decoder derived from the model (1 µs), which refuses whatever it is not
sure of, and only what it refuses goes before the judge. The fast decoder may refuse too much,
never accept too much: a test holds the two side by side.
"""

import re
import sys
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin
from uuid import UUID

import annotated_types
import msgspec
from pydantic import AwareDatetime
from pydantic.fields import FieldInfo

from usagepipe.consumer.records import Record, TopicPartition
from usagepipe.schemas.codec import decode
from usagepipe.schemas.errors import EventRejectedError
from usagepipe.schemas.event import COST_DECIMALS, EARLIEST, LATEST, MAX_COST, UsageEvent

COORDINATES: Final = (
    ("kafka_topic", str),
    ("kafka_topic_id", str),
    ("kafka_partition", int),
    ("kafka_offset", int),
    ("batch_epoch", int),
    ("ingested_at", str),
)
COLUMNS: Final = (*UsageEvent.model_fields, *(name for name, _ in COORDINATES))
# As `str(UUID)` writes it. The other ways to write one go before the judge.
_CANONICAL_ID: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\\Z"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is no event: what its dead letter tells."""

    record: Record
    reason: str
    detail: str
    code: int | None = None  # ClickHouse's, where it refused the row
    column: str = ""


class _Moment(msgspec.Struct):
    """All that is read again of a row."""

    occurred_at: datetime


_decode_moment: Final = msgspec.json.Decoder(_Moment).decode


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch as ClickHouse takes it, and the records that are none of it.

    `offsets` and `ids` (canonical text) are those of the lines of `body`, in their order.
    """

    body: bytes
    offsets: Sequence[int]
    ids: Sequence[str]
    rejected: tuple[Rejected, ...]

    @property
    def count(self) -> int:
        return len(self.offsets)

    def without(self, left_out: Set[int]) -> "Rows":
        """The same without the rows of these offsets."""
        if not left_out:
            return self
        kept = [n for n, offset in enumerate(self.offsets) if offset not in left_out]
        lines = self.body.split(b"\n")  # JSON has no line break of its own
        return Rows(
            b"".join(lines[n] + b"\n" for n in kept),
            [self.offsets[n] for n in kept],
            [self.ids[n] for n in kept],
            self.rejected,
        )

    def moments(self) -> list[datetime]:
        """When the events of the rows occurred. Reads the lines: for the rare case."""
        return [_decode_moment(line).occurred_at for line in self.body.splitlines()]


def _fast_type(annotation: Any, metadata: Iterable[Any] = ()) -> Any:
    """The msgspec twin of a field's pydantic type: the same type under the same limits."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _fast_type(inner, [*metadata, *more])
    if origin in (Union, UnionType):
        twins = [_fast_type(part) for part in get_args(annotation)]
        return Union[tuple(twins)]  # noqa: UP007  # made at run time
    if origin is dict:
        key, value = get_args(annotation)
        return _limited(dict[_fast_type(key), _fast_type(value)], metadata)  # type: ignore[misc]
    return _limited(annotation, metadata)


def _limited(base: Any, metadata: Iterable[Any]) -> Any:
    """`base` under the limits that msgspec can check. The rest is checked by `_is_certain`."""
    limits: dict[str, Any] = {}
    if base is AwareDatetime:
        base = str  # msgspec would round what is finer than microseconds, the model cuts it
    if base is UUID:
        base = str  # text in, text out: half the time, and look-ups need the text
        limits["pattern"] = _CANONICAL_ID
    if base is not Decimal:
        for rule in _flatten(metadata):
            match rule:
                case annotated_types.Ge(ge=bound):
                    limits["ge"] = bound
                case annotated_types.Le(le=bound):
                    limits["le"] = bound
                case annotated_types.MinLen(min_length=length):
                    limits["min_length"] = length
                case annotated_types.MaxLen(max_length=length):
                    limits["max_length"] = length
    return Annotated[base, msgspec.Meta(**limits)] if limits else base


def _flatten(metadata: Iterable[Any]) -> Iterable[Any]:
    for rule in metadata:
        yield from rule.metadata if isinstance(rule, FieldInfo) else (rule,)


def _row_type() -> type[msgspec.Struct]:
    """A struct with the event's fields and the coordinates, in the order of `COLUMNS`."""
    fields: list[Any] = []
    for name, info in UsageEvent.model_fields.items():
        twin = _fast_type(info.annotation, info.metadata)
        fields.append((name, twin) if info.is_required() else (name, twin, info.default))
    # A record that names a coordinate itself changes nothing: each is overwritten.
    fields += [(name, kind, kind()) for name, kind in COORDINATES]
    fields.sort(key=len)  # fields without a default first
    return msgspec.defstruct("Row", fields, omit_defaults=True, gc=False)


Row: Final[Any] = _row_type()
_decode_row = msgspec.json.Decoder(Row).decode
_encoder = msgspec.json.Encoder(decimal_format="string")  # a JSON number would be a float
# Narrower than `datetime.fromisoformat`, which also takes weeks (2026-W01-1), commas and times
# without colons: ClickHouse refuses some of them, and with them their whole batch, for ever.
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3}(?:\d{3})?)?Z", re.ASCII)
_EARLIEST: Final = EARLIEST.strftime("%Y")  # texts of one form sort like the moments
_LATEST: Final = LATEST.strftime("%Y")
_FIRST_MS: Final = int(EARLIEST.timestamp()) * 1000  # nine digits of seconds, or ten: no date
_LAST_MS: Final = int(LATEST.timestamp()) * 1000 - 1
_SMALLEST_STEP: Final = Decimal(1).scaleb(-COST_DECIMALS)


def _is_certain(row: Any) -> bool:
    """Whether the model would accept `row` too: what msgspec's types cannot say."""
    return _is_certain_time(row.occurred_at) and (row.cost is None or _is_certain_cost(row.cost))


def _is_certain_time(text: str) -> bool:
    """Whether `text` is RFC 3339 in UTC, to the second, milli- or microsecond, and in range."""
    if not _TIME.fullmatch(text):
        return False
    datetime.fromisoformat(text)  # ValueError: no such moment
    return _EARLIEST <= text < _LATEST


def _is_certain_cost(cost: Decimal) -> bool:
    if not cost.is_finite() or not 0 <= cost < MAX_COST:
        return False
    _, digits, exponent = cost.as_tuple()
    # A JSON number of more digits is a float to the model, which may round it. ClickHouse reads
    # no exponent above its precision, not even of a zero: 0E+40.
    return -COST_DECIMALS <= cast(int, exponent) <= 0 and len(digits) <= sys.float_info.dig


def _judge(value: bytes | None) -> Any:
    """The row of a record that the fast decoder refused.

    Raises:
        EventRejectedError: the model refuses it too.
    """
    fields = decode(value).model_dump(exclude_defaults=True)
    fields["event_id"] = str(fields["event_id"])
    fields["occurred_at"] = fields["occurred_at"].isoformat(timespec="milliseconds")
    if "cost" in fields:
        fields["cost"] = fields["cost"].quantize(_SMALLEST_STEP)  # "0E-20" is no decimal there
    return Row(**fields)


def _read(value: bytes | None) -> Any:
    try:
        row = _decode_row(value)  # type: ignore[arg-type]  # a tombstone raises TypeError
        if _is_certain(row):
            return row
    except (msgspec.MsgspecError, ValueError, RecursionError, TypeError):
        pass  # the judge says why, or accepts what the fast decoder could not
    return _judge(value)


def encode_rows(
    records: Iterable[Record], partition: TopicPartition, topic_id: str, epoch: int
) -> Rows:
    """The rows of `records` as JSONEachRow, with their coordinates in the log, in their order.

    Never raises for what a record holds: a record that is no event is in `rejected`.
    """
    rows: list[Any] = []
    rejected: list[Rejected] = []
    for record in records:
        try:
            row = _read(record.value)
        except EventRejectedError as error:
            rejected.append(Rejected(record, error.reason, error.detail))
            continue
        row.kafka_topic = partition.topic
        row.kafka_topic_id = topic_id
        row.kafka_partition = partition.partition
        row.kafka_offset = record.offset
        row.batch_epoch = epoch
        row.ingested_at = _seconds(record.timestamp)
        rows.append(row)
    return Rows(
        _encoder.encode_lines(rows),
        [row.kafka_offset for row in rows],
        [row.event_id for row in rows],
        tuple(rejected),
    )


def _seconds(milliseconds: int) -> str:
    """A record's time as ClickHouse reads it; one that cannot be is cut to the nearest that can.

    Only the broker's clock (`LogAppendTime`) can be trusted: on a topic that somebody else made,
    the time is the producer's word, and no time at all is -1.
    """
    milliseconds = min(max(milliseconds, _FIRST_MS), _LAST_MS)
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"

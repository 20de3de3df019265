"""Reads events fast, and exactly as the event's model would.

The model is the contract and `schemas.decode` its judge; it takes 8 µs an event. So records are
first read by a decoder derived from the model (1 µs), many at a time, which refuses whatever it is
not sure of, and only what it refuses goes before the judge. The fast decoder may refuse too much,
never accept too much: a test holds the two side by side.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin
from uuid import UUID

import annotated_types
import msgspec
from pydantic import AwareDatetime
from pydantic.fields import FieldInfo

from usagepipe.schemas.codec import decode
from usagepipe.schemas.errors import EventRejectedError
from usagepipe.schemas.event import COST_DECIMALS, EARLIEST, LATEST, MAX_COST, UsageEvent

# What the worker adds to an event: where it stands in the log.
PLACE: Final = (
    ("kafka_topic", str),
    ("kafka_topic_id", str),
    ("kafka_partition", int),
    ("kafka_offset", int),
    ("batch_epoch", int),
    ("ingested_at", str),
)
CHUNK: Final = 256  # records to check together: more are no faster, and hold more memory


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
    """`base` under the limits that msgspec can check. The rest is checked by `_are_certain`."""
    limits: dict[str, Any] = {}
    if base is AwareDatetime:
        base = str  # msgspec would round what is finer than microseconds, the model cuts it
    if base is UUID:
        base = str  # text in, text out, and look-ups need the text
    if base is Decimal:
        return str | int | float  # made text by `_are_certain_costs`
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


def _row_type(*, strict: bool = False) -> type[msgspec.Struct]:
    """A struct with the event's fields and its place in the log; `strict` takes no other fields."""
    fields: list[Any] = []
    for name, info in UsageEvent.model_fields.items():
        twin = _fast_type(info.annotation, info.metadata)
        fields.append((name, twin) if info.is_required() else (name, twin, info.default))
    # A record that names its place itself changes nothing: it is overwritten.
    fields += [(name, kind, kind()) for name, kind in PLACE]
    fields.sort(key=len)  # fields without a default first
    return msgspec.defstruct(
        "Row", fields, omit_defaults=True, gc=False, forbid_unknown_fields=strict
    )


Row: Final[Any] = _row_type()
_decode_row = msgspec.json.Decoder(Row).decode
_decode_known = msgspec.json.Decoder(_row_type(strict=True)).decode
# msgspec passes over a field that it does not know without reading all of it. It then misses
# invalid UTF-8 in names, and what exceeds the model's parser: 4,300 digits, 200 levels.
_MOST_BYTES: Final = 4_000
_MOST_LEVELS: Final = 100

# Texts of one form are compared as one: joined, and with 0 for each of their digits.
_ID: Final = b"00000000-0000-0000-0000-000000000000\n"
_HEX: Final = bytes.maketrans(b"0123456789abcdef", b"0" * 16)
# Narrower than `datetime.fromisoformat`, which also takes weeks (2026-W01-1), commas and times
# without colons: ClickHouse refuses some of them, and with them their whole batch.
_TIMES: Final = {
    len(form): form.encode() + b"\n"
    for form in ("0000-00-00T00:00:00Z", "0000-00-00T00:00:00.000Z", "0000-00-00T00:00:00.000000Z")
}
_DECIMAL: Final = bytes.maketrans(b"0123456789", b"0" * 10)
_SECOND: Final = len("2026-01-02T03:04:05")
_EARLIEST: Final = EARLIEST.strftime("%Y")  # texts of one form sort like the moments
_LATEST: Final = LATEST.strftime("%Y")
# As producers write it, and as Python writes amounts below a millionth: 1.5E-7.
_COSTS: Final = re.compile(
    r"(?:\d{1,9}(?:\.\d{1,12})?\n|\d(?:\.\d{1,5})?E-7\n|\d(?:\.\d{1,4})?E-8\n"
    r"|\d(?:\.\d{1,3})?E-9\n|\d(?:\.\d{1,2})?E-10\n|\d(?:\.\d)?E-11\n|\dE-12\n)*",
    re.A,
)
_SMALLEST_STEP: Final = Decimal(1).scaleb(-COST_DECIMALS)


def read_events(values: Sequence[bytes | None]) -> list[Any]:
    """For each of `values` its `Row`, or the `EventRejectedError` that says why there is none.

    They are checked together: one that is uncertain slows all of them, so give it `CHUNK` or less.
    """
    return _read_certain(values) or [_read(value) for value in values]


def _read_certain(values: Sequence[bytes | None]) -> list[Any] | None:
    """The rows of `values`; None unless all of them are certain."""
    try:
        rows = _decode(values)
        return rows if _are_certain(rows) else None
    except (msgspec.MsgspecError, ValueError, RecursionError, TypeError):  # a tombstone: TypeError
        return None


def _decode(values: Sequence[bytes | None]) -> list[Any]:
    """The rows of `values`, whose form is checked and whose content is not.

    Raises:
        Exception: one of those that `_read_certain` catches.
    """
    try:
        return [_decode_known(value) for value in values]  # type: ignore[arg-type]
    except msgspec.ValidationError:  # most likely a newer producer's field
        return [_decode_row(_checked(value)) for value in values]


def _checked(value: bytes | None) -> bytes:
    """`value`, if msgspec can pass over a part of it.

    Raises:
        ValueError: it might miss something there.
    """
    if value is None or len(value) > _MOST_BYTES:
        raise ValueError
    if value.count(b"[") + value.count(b"{") > _MOST_LEVELS:
        raise ValueError
    if not value.isascii():
        value.decode()
    return value


def _read(value: bytes | None) -> Any:
    if (rows := _read_certain((value,))) is not None:
        return rows[0]
    try:
        return _judge(value)
    except EventRejectedError as error:
        return error


def _are_certain(rows: list[Any]) -> bool:
    """Whether the model would accept all of `rows`: what msgspec's types cannot say.

    Raises:
        ValueError: no such moment.
    """
    times = [row.occurred_at for row in rows]
    return (
        _all_like(_ID, [row.event_id for row in rows], _HEX)
        # Times of several forms are read one by one.
        and _all_like(_TIMES.get(len(times[0]), b""), times, _DECIMAL)
        and all(datetime.fromisoformat(second) for second in {time[:_SECOND] for time in times})
        and _EARLIEST <= min(times)
        and max(times) < _LATEST
        and _are_certain_costs(rows)
    )


def _all_like(form: bytes, texts: list[str], digits: bytes) -> bool:
    joined = "\n".join([*texts, ""]).encode("ascii")  # UnicodeEncodeError is a ValueError
    return joined.translate(digits) == form * len(texts)


def _are_certain_costs(rows: list[Any]) -> bool:
    priced = [row for row in rows if row.cost is not None]
    for row in priced:
        if type(row.cost) is not str:
            row.cost = _text_of(row.cost)
    texts = [row.cost for row in priced]
    joined = "\n".join([*texts, ""]) if texts else ""
    # A text with a line break of its own would match as two.
    return joined.count("\n") == len(texts) and _COSTS.fullmatch(joined) is not None


def _text_of(cost: float) -> str:
    """A JSON number as text, where the model would read the same amount; else no number."""
    amount = Decimal(repr(cost))
    # One of more digits is a float to the model, which may round it.
    if not (amount.is_finite() and 0 <= amount < MAX_COST):
        return ""
    _, digits, exponent = amount.as_tuple()
    if cast(int, exponent) < -COST_DECIMALS or len(digits) > sys.float_info.dig:
        return ""
    return f"{abs(amount):f}"


def _judge(value: bytes | None) -> Any:
    """The row of a record that the fast decoder refused.

    Raises:
        EventRejectedError: the model refuses it too.
    """
    fields = decode(value).model_dump(exclude_defaults=True)
    fields["event_id"] = str(fields["event_id"])
    fields["occurred_at"] = fields["occurred_at"].isoformat(timespec="milliseconds")
    if "cost" in fields:  # "0E-20" is no decimal to ClickHouse
        fields["cost"] = f"{fields['cost'].quantize(_SMALLEST_STEP):f}"
    return Row(**fields)

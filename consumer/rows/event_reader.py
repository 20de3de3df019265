"""Decodes events fast, with the same result as the event's model.

The model (`schemas.decode`) is the contract, and takes 8 µs per event. So a decoder derived from
the model reads many records at once first, at 1 µs each. It refuses everything it is unsure of, and
the model decides about these records. The fast decoder may refuse too much, but never accept too
much: a test compares the two.
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

from usagepipe.schemas.clickhouse.usage_events import COORDINATES
from usagepipe.schemas.codec import decode
from usagepipe.schemas.errors import EventRejectedError
from usagepipe.schemas.event import COST_DECIMALS, EARLIEST, LATEST, MAX_COST, UsageEvent

DECODED_TOGETHER: Final = 256  # records; more are no faster and take more memory


def _fast_type(annotation: Any, metadata: Iterable[Any] = ()) -> Any:
    """The msgspec type of a field's pydantic type, with the same limits."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _fast_type(inner, [*metadata, *more])
    if origin in (Union, UnionType):
        twins = [_fast_type(part) for part in get_args(annotation)]
        return Union[tuple(twins)]  # noqa: UP007  # created at run time
    if origin is dict:
        key, value = get_args(annotation)
        return _limited(dict[_fast_type(key), _fast_type(value)], metadata)  # type: ignore[misc]
    return _limited(annotation, metadata)


def _limited(base: Any, metadata: Iterable[Any]) -> Any:
    """`base` with the limits that msgspec can check. `_are_certain` checks the others."""
    limits: dict[str, Any] = {}
    if base is AwareDatetime:
        base = str  # msgspec rounds to microseconds, the model truncates
    if base is UUID:
        base = str  # look-ups and rows need the text
    if base is Decimal:
        return str | int | float  # `_are_certain_costs` makes it text
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
            case _ if pattern := getattr(rule, "pattern", None):
                # In Python `$` also matches before a line break at the end.
                limits["pattern"] = re.sub(r"\$$", r"\\Z", pattern)
    return Annotated[base, msgspec.Meta(**limits)] if limits else base


def _flatten(metadata: Iterable[Any]) -> Iterable[Any]:
    for rule in metadata:
        yield from rule.metadata if isinstance(rule, FieldInfo) else (rule,)


def _row_type(*, strict: bool = False) -> type[msgspec.Struct]:
    """A struct of the event's fields and coordinates; `strict` refuses other fields."""
    fields: list[Any] = []
    for name, info in UsageEvent.model_fields.items():
        twin = _fast_type(info.annotation, info.metadata)
        fields.append((name, twin) if info.is_required() else (name, twin, info.default))
    # If a record itself has such a field, its value is overwritten.
    fields += [(name, kind, kind()) for name, kind in COORDINATES.items()]
    fields.sort(key=len)  # fields without a default first
    return msgspec.defstruct(
        "Row", fields, omit_defaults=True, gc=False, forbid_unknown_fields=strict
    )


Row: Final[Any] = _row_type()
decode_row = msgspec.json.Decoder(Row).decode
_decode_known = msgspec.json.Decoder(_row_type(strict=True)).decode
# msgspec skips an unknown field without a full check. It then misses invalid UTF-8 in names, and
# values that exceed the limits of the model's parser: 4,300 digits, 200 levels.
_MOST_BYTES: Final = 4_000
_MOST_LEVELS: Final = 100

# Texts of one form are checked together: joined, with every digit replaced by 0.
_ID: Final = b"00000000-0000-0000-0000-000000000000\n"
_HEX: Final = bytes.maketrans(b"0123456789abcdef", b"0" * 16)
# Narrower than `datetime.fromisoformat`, which also accepts weeks (2026-W01-1), commas and times
# without colons. ClickHouse refuses some of these, and their whole batch with them.
_TIMES: Final = {
    len(form): form.encode() + b"\n"
    for form in ("0000-00-00T00:00:00Z", "0000-00-00T00:00:00.000Z", "0000-00-00T00:00:00.000000Z")
}
_DECIMAL: Final = bytes.maketrans(b"0123456789", b"0" * 10)
_SECOND: Final = len("2026-01-02T03:04:05")
_EARLIEST: Final = EARLIEST.strftime("%Y")  # texts of one form sort like their times
_LATEST: Final = LATEST.strftime("%Y")
# As producers write costs, and as Python writes amounts below a millionth: 1.5E-7.
_COSTS: Final = re.compile(
    r"(?:\d{1,9}(?:\.\d{1,12})?\n|\d(?:\.\d{1,5})?E-7\n|\d(?:\.\d{1,4})?E-8\n"
    r"|\d(?:\.\d{1,3})?E-9\n|\d(?:\.\d{1,2})?E-10\n|\d(?:\.\d)?E-11\n|\dE-12\n)*",
    re.A,
)
_AMOUNTS: Final = frozenset(("cost", "reported_cost"))
_SMALLEST_STEP: Final = Decimal(1).scaleb(-COST_DECIMALS)


def read_events(values: Sequence[bytes | None]) -> list[Any]:
    """The `Row` of each value, or the `EventRejectedError` with the reason why it has none.

    The values are checked together, and an uncertain one slows down all: pass `DECODED_TOGETHER`
    values or fewer.
    """
    return _read_certain(values) or [_read(value) for value in values]


def _read_certain(values: Sequence[bytes | None]) -> list[Any] | None:
    """The rows of `values`, or None if one of them is uncertain."""
    try:
        rows = _decode(values)
        return rows if _are_certain(rows) else None
    except (msgspec.MsgspecError, ValueError, RecursionError, TypeError):  # TypeError: a tombstone
        return None


def _decode(values: Sequence[bytes | None]) -> list[Any]:
    """The rows of `values`. Their types are checked, their contents are not.

    Raises:
        Exception: one that `_read_certain` catches.
    """
    try:
        return [_decode_known(value) for value in values]  # type: ignore[arg-type]
    except msgspec.ValidationError:  # most likely a field of a newer producer
        return [decode_row(_checked(value)) for value in values]


def _checked(value: bytes | None) -> bytes:
    """`value`, if msgspec can safely skip a part of it.

    Raises:
        ValueError: msgspec could miss an error in that part.
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
        return _read_by_model(value)
    except EventRejectedError as error:
        return error


def _are_certain(rows: list[Any]) -> bool:
    """Whether the model would accept all of `rows`. Checks what msgspec's types cannot express.

    Raises:
        ValueError: a time does not exist.
    """
    times = [row.occurred_at for row in rows]
    return (
        _all_like(_ID, [row.event_id for row in rows], _HEX)
        # Times of different forms are read one by one.
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
    texts = []
    for name in _AMOUNTS:
        for row in rows:
            if (amount := getattr(row, name)) is not None:
                if type(amount) is not str:
                    amount = _text_of(amount)
                    setattr(row, name, amount)
                texts.append(amount)
    joined = "\n".join([*texts, ""]) if texts else ""
    # A text that contains a line break would match as two texts.
    return joined.count("\n") == len(texts) and _COSTS.fullmatch(joined) is not None


def _text_of(cost: float) -> str:
    """The JSON number as text if the model reads the same amount; otherwise an empty text."""
    amount = Decimal(repr(cost))
    # With more digits the model reads a float and may round it.
    if not (amount.is_finite() and 0 <= amount < MAX_COST):
        return ""
    _, digits, exponent = amount.as_tuple()
    if cast(int, exponent) < -COST_DECIMALS or len(digits) > sys.float_info.dig:
        return ""
    return f"{abs(amount):f}"


def _read_by_model(value: bytes | None) -> Any:
    """The row of a record that the fast decoder refused.

    Raises:
        EventRejectedError: the model refuses the record.
    """
    fields = decode(value).model_dump(exclude_defaults=True)
    fields["event_id"] = str(fields["event_id"])
    fields["occurred_at"] = fields["occurred_at"].isoformat(timespec="milliseconds")
    for name in _AMOUNTS & fields.keys():  # ClickHouse does not read "0E-20"
        fields[name] = f"{fields[name].quantize(_SMALLEST_STEP):f}"
    return Row(**fields)

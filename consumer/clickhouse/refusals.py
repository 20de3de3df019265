"""Classifies an error of ClickHouse: refuse the content, retry, or retry until an operator acts.

The table in `schemas.clickhouse.codes` has the kind and the reason of each code. Only an error that
names a row of the insert into the raw table is caused by the content. The same code from another
place, above all from a view, proves nothing: the raw rows may be stored.
"""

import re
from typing import Final, NamedTuple

from usagepipe.schemas.clickhouse.client import error_code
from usagepipe.schemas.clickhouse.codes import TABLE, Kind, Known
from usagepipe.schemas.clickhouse.usage_events import COLUMNS


class Refusal(NamedTuple):
    """An error of ClickHouse, without any text of the rows."""

    kind: Kind
    code: int | None  # of ClickHouse; None if no server answered
    name: str  # of the code, as NOT_ENOUGH_SPACE; "" if unknown
    column: str  # the column or constraint that a refused row violates; "" if unknown
    view: bool  # raised by a view: the raw table may have the rows
    row: int | None = None  # the refused row, counted from 1, if the error names it

    @property
    def title(self) -> str:
        """Code and name, as `code 243 NOT_ENOUGH_SPACE`; "" without a code."""
        return "" if self.code is None else f"code {self.code} {self.name}".rstrip()


VIOLATED_CONSTRAINT: Final = 469
_RAW_TABLES: Final = ("usage_events", "usage_events_local")
# Each is ClickHouse's wording, at a position where no text of a row can be.
_VIEW: Final = ": while pushing to view "
_AT_ROW: Final = re.compile(r"\(at row (\d+)\)")
_KEY: Final = re.compile(r"\(while reading the value of key (\w+)\): \(at row \d+\)")
_FIELD: Final = re.compile(
    r"(?:Unknown|Duplicate) field found while parsing \w+ format: (\w+): \(at row"
)
_CONSTRAINT: Final = re.compile(
    r"DB::Exception: Constraint `(\w+)` for table (\S+)(?: .{0,200}?is violated at row (\d+))?"
)
_NAME: Final = re.compile(r"\(([A-Z][A-Z0-9_]+)\)(?: \(version |$)")


def classify(error: Exception) -> Refusal:
    """The meaning of `error`, raised by an insert into the raw table. Never raises.

    An error without a code (no connection, a timeout, a proxy's 502) or with an unknown code is the
    server's: a retry loses nothing.
    """
    code = error_code(error)
    if code is None:
        return Refusal(Kind.SERVER, None, "", "", view=False)
    text = str(error)
    known = TABLE.get(code, Known(Kind.SERVER, _name(text), ""))
    constraint = _CONSTRAINT.search(text) if code == VIOLATED_CONSTRAINT else None
    view = _is_of_view(text, constraint)
    kind = known.kind
    if kind is Kind.CONTENT and view:
        kind = Kind.OPERATOR  # repair the view; the raw table may have the rows
    elif kind is Kind.CONTENT and not (constraint or _AT_ROW.search(text)):
        kind = Kind.SERVER  # it names no row
    if kind is not Kind.CONTENT:
        return Refusal(kind, code, known.name, "", view)
    return Refusal(kind, code, known.name, _column(text, constraint), view, _row(text, constraint))


def _is_of_view(text: str, constraint: re.Match[str] | None) -> bool:
    # Quoted text of a row is before the last quote, or on an earlier line.
    last_words = text.rpartition("'")[2].rpartition("\n")[2]
    if _VIEW in last_words:
        return True
    return constraint is not None and _table(constraint[2]) not in _RAW_TABLES


def _table(name: str) -> str:
    return name.replace("`", "").rpartition(".")[2]


def _column(text: str, constraint: re.Match[str] | None) -> str:
    """The named column or constraint. Only known names are returned, so no text of a row is."""
    if constraint:
        return constraint[1]  # the first in the text: quoted text of a row is later
    named = [*_KEY.findall(text), *_FIELD.findall(text)]
    return named[-1] if named and named[-1] in COLUMNS else ""


def _row(text: str, constraint: re.Match[str] | None) -> int | None:
    if constraint:
        return int(constraint[3]) if constraint[3] else None
    return int(_AT_ROW.findall(text)[-1])  # quoted text of a row is earlier


def _name(text: str) -> str:
    found = _NAME.findall(text)
    return found[-1] if found else ""

"""Stores price books in ClickHouse by version, and which of them was applied, when and by whom.

A book never changes: its version is a hash of it. The book that was applied last is the active one.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from usagepipe.schemas.clickhouse.client import WHOLE_ANSWERS
from usagepipe.schemas.clickhouse.migrations import load_statement
from usagepipe.schemas.errors import MissingBookError
from usagepipe.schemas.prices import PriceBook

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BOOKS: Final = "price_books"
_READ: Final[Mapping[str, int | str]] = {"select_sequential_consistency": 1, **WHOLE_ANSWERS}
_WRITE: Final[Mapping[str, int]] = {
    "async_insert": 0,
    "wait_end_of_query": 1,
    "distributed_foreground_insert": 1,
    "throw_if_no_data_to_insert": 0,
    "input_format_parallel_parsing": 0,  # a book is one row, of any size
}


class Application(NamedTuple):
    """A price book was applied. `comment` is the operator's."""

    applied_at: datetime
    version: str
    applied_by: str
    comment: str


def history(client: "Client") -> tuple[Application, ...]:
    """Every application of a book, the newest first. Blocks."""
    rows = client.query(load_statement("price_book_history_read.sql"), settings=dict(_READ))
    return tuple(Application(*row) for row in rows.result_rows)


def active_version(client: "Client") -> str:
    """The version of the active book; empty if none was ever applied. Blocks."""
    rows = client.query(load_statement("price_book_active.sql"), settings=dict(_READ)).result_rows
    return str(rows[0][0]) if rows else ""


def other_versions(client: "Client", version: str) -> tuple[str, ...]:
    """The stored books other than `version`, the one stored last first. Blocks."""
    sql, parameters = load_statement("price_book_others.sql"), {"version": version}
    rows = client.query(sql, parameters=parameters, settings=dict(_READ)).result_rows
    return tuple(str(found) for (found,) in rows)


def read_book(client: "Client", version: str) -> PriceBook:
    """The stored book of `version`. Blocks.

    Raises:
        MissingBookError: it is not stored.
        DamagedBookError: what is stored is not that book.
    """
    sql, parameters = load_statement("price_book_read.sql"), {"version": version}
    rows = client.query(sql, parameters=parameters, settings=dict(_READ)).result_rows
    if not rows:
        raise MissingBookError(version)
    return PriceBook.from_json(rows[0][0], version)


def store_book(client: "Client", book: PriceBook) -> None:
    """Store `book`, unless an intact copy is stored already. Blocks."""
    sql, parameters = load_statement("price_book_intact.sql"), {"version": book.version}
    ((intact,),) = client.query(sql, parameters=parameters, settings=dict(_READ)).result_rows
    if not intact:
        _insert(client, BOOKS, {"version": book.version, "book": book.to_json()})


def try_out(client: "Client") -> None:
    """Raise what storing a book would raise, by an insert without rows. Blocks."""
    _insert(client, BOOKS)


def apply_book(client: "Client", book: PriceBook, applied_by: str, comment: str) -> None:
    """Make `book` the active one. Blocks.

    1. Store the book. A crash after it leaves a book that nothing uses.
    2. Note that it was applied. From then on every worker changes to it.
    """
    store_book(client, book)
    row = {"version": book.version, "applied_by": applied_by, "comment": comment}
    sql = load_statement("price_book_apply.sql")
    client.command(sql, parameters=row, settings={**_READ, **_WRITE})


def _insert(client: "Client", table: str, *rows: Mapping[str, str]) -> None:
    # The client's own insert imports numpy, pandas and pyarrow if they are there: 90 MB.
    body = "\n".join(json.dumps(row) for row in rows).encode()
    client.raw_insert(table, insert_block=body, settings=dict(_WRITE), fmt="JSONEachRow")

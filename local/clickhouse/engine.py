"""chDB, ClickHouse's engine in this process, with what an HTTP server needs of it.

A process has one engine on one folder. Each request has a connection of its own: it costs half a
millisecond, keeps settings apart, and statements on different connections really run at once.
Everything here blocks: call it in a thread.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from usagepipe.local.clickhouse.exceptions import UNKNOWN_SETTING, ClickHouseError
from usagepipe.local.clickhouse.statement import Statement
from usagepipe.schemas.errors import WrongUseError

_SETTING_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# Formats whose parts, one after the other, are the whole. The others have a head or a foot.
_STREAMED: Final = frozenset(
    {"Native", "RowBinary", "JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow"}
)
# These too, but for the row of totals or extremes that may stand apart at the end.
_STREAMED_PLAIN: Final = frozenset({"TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV"})
# chDB's own defaults are those of a command line tool.
_SERVER_DEFAULTS: Final = {"implicit_select": "0", "allow_introspection_functions": "0"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request asks for beside its statement."""

    database: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What an INSERT wrote, the rows of materialized views included, as a server counts."""

    rows: int
    bytes: int


class Engine:
    """The engine on a folder. `close` flushes and releases it."""

    def __init__(self, path: Path) -> None:
        """Open or make the data in `path`.

        Raises:
            WrongUseError: the folder does not hold the engine's data, or another process has it.
        """
        from chdb.state import connect  # 0.5 s: not at import

        self._connect = connect
        self._path = str(path)
        try:
            self._first: Any = connect(self._path)
            self.version = self._text("SELECT version()")
            self.timezone = self._text("SELECT timezone()")
        except RuntimeError as error:
            raise WrongUseError(f"ClickHouse's engine cannot open {path}: {error}") from error

    def _text(self, sql: str) -> str:
        return bytes(self._first.query(sql, "TSVRaw").bytes()).decode().strip()

    def connect(self, scope: Scope) -> "Connection":
        """A connection with the scope's settings, parameters and database.

        Raises:
            ClickHouseError: a setting or the database is unknown, or a value is none.
        """
        connection = Connection(self._connect(self._path))
        try:
            connection.enter(scope)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        self._first.close()


class Connection:
    """One request's connection: one statement, then `close`."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._raw.close()

    def enter(self, scope: Scope) -> None:
        """Take over the scope: settings first, since readonly would forbid them."""
        changes = {**_SERVER_DEFAULTS, **scope.settings}
        changes |= {f"param_{name}": value for name, value in scope.parameters.items()}
        if scope.read_only:
            changes["readonly"] = "2"
        pairs = ", ".join(f"{_name(name)} = {quote(value)}" for name, value in changes.items())
        self._run(f"SET {pairs}".encode("utf-8", "surrogateescape"), "Null")
        if scope.database:
            self._run(f"USE {quote(scope.database, '`')}".encode(), "Null")

    def query(self, statement: Statement, answer_format: str, scope: Scope) -> Iterator[bytes]:
        """Run a statement; its answer in parts. The first part is ready when this returns.

        Raises:
            ClickHouseError: also from the iterator, when it breaks half-way.
        """
        if _is_streamed(statement, answer_format, scope):
            try:
                return _primed(self._stream(statement.sql, answer_format))
            except ClickHouseError as error:
                if "Streaming query is not supported" not in error.text:
                    raise
        return iter([self._run(statement.sql, answer_format)])

    def _stream(self, sql: bytes, answer_format: str) -> Iterator[bytes]:
        try:
            with self._raw.send_query(sql, answer_format) as parts:
                for part in parts:
                    yield bytes(part.bytes())
        except Exception as error:
            raise ClickHouseError.from_engine(error) from None

    def _run(self, sql: bytes, answer_format: str) -> bytes:
        try:
            return bytes(self._raw.query(sql, answer_format).bytes())
        except Exception as error:
            raise ClickHouseError.from_engine(error) from None

    def insert(self, statement: Statement) -> "Insert":
        """Begin an INSERT whose data follow in parts.

        Raises:
            ClickHouseError: the table, a column or the format is not known, …
        """
        try:
            return Insert(self._raw.send_insert(statement.sql, statement.format or "Values"))
        except Exception as error:
            raise ClickHouseError.from_engine(error) from None


class Insert:
    """A running INSERT. The engine parses while parts arrive; `finish` writes what is left."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def append(self, part: bytes) -> None:
        try:
            self._raw.append(part)
        except Exception as error:
            raise ClickHouseError.from_engine(error) from None

    def finish(self) -> Written:
        """Write what is left. When this returns, the rows survive a crash of the process."""
        try:
            result = self._raw.finish()
        except Exception as error:
            raise ClickHouseError.from_engine(error) from None
        return Written(result.rows_written, result.bytes_written)

    def cancel(self) -> None:
        """Give up: whole blocks that are written stay, as on a server."""
        self._raw.cancel()


def quote(value: str, mark: str = "'") -> str:
    """`value` as a literal of ClickHouse's SQL."""
    escaped = value.replace("\\", "\\\\").replace(mark, "\\" + mark).replace("\0", "\\0")
    return f"{mark}{escaped}{mark}"


def _name(name: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise ClickHouseError.of(UNKNOWN_SETTING, f"Unknown setting {name!r}.")
    return name


def _is_streamed(statement: Statement, answer_format: str, scope: Scope) -> bool:
    if statement.kind not in {"SELECT", "WITH"}:
        return False
    if answer_format in _STREAMED_PLAIN:
        text = statement.sql.lower()
        return not (b"totals" in text or b"extremes" in text or "extremes" in scope.settings)
    return answer_format in _STREAMED


def _primed(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same parts, the first one fetched: what fails early becomes a status, not a torso."""
    first = next(parts, None)
    return iter(()) if first is None else _chained(first, parts)


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest

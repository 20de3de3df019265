"""Runs statements in chDB, ClickHouse's engine inside this process.

A process has one engine on one folder. Each request has its own connection: it costs half a
millisecond, keeps settings apart, and lets statements run in parallel. Every call blocks: make it
in a thread.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

from usagepipe.local.clickhouse.exceptions import Code, engine_error, refusal
from usagepipe.local.clickhouse.silent_errors import Errors, Watch
from usagepipe.local.clickhouse.statement import Statement
from usagepipe.schemas.errors import ClickHouseError, WrongUseError

_SETTING_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# Formats without a header or footer: the parts of an answer can be concatenated.
_STREAMED: Final = frozenset(
    {"Native", "RowBinary", "JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow"}
)
# The same, unless the answer ends with a separate row of totals or extremes.
_STREAMED_PLAIN: Final = frozenset({"TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV"})
OWN_DATABASE: Final = "usagepipe"
# An earlier version stored events in the database `default`, which then stays in use.
_IN_USE: Final = f"""
SELECT if(has(found, 'default') AND NOT has(found, '{OWN_DATABASE}'), 'default', '{OWN_DATABASE}')
FROM (SELECT groupArray(database) AS found FROM system.tables WHERE name = 'usage_events')"""
# chDB's own defaults are those of a command line tool.
_SERVER_DEFAULTS: Final = {"implicit_select": "0", "allow_introspection_functions": "0"}


@dataclass(frozen=True, slots=True)
class Scope:
    """The database, settings and parameters of a request."""

    database: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """The rows and bytes that an INSERT wrote, including those of materialized views."""

    rows: int
    bytes: int


class Engine:
    """The engine on a folder. `close` flushes and releases it."""

    def __init__(self, path: Path) -> None:
        """Open the data in `path`, or create it.

        Raises:
            WrongUseError: the folder holds other data, or another process uses it.
        """
        from chdb.state import connect  # 0.5 s: not at import

        self._connect = connect
        self._path = str(path)
        try:
            self._first: Any = connect(self._path)
            self.version = self._text("SELECT version()")
            self.timezone = self._text("SELECT timezone()")
            self._errors = Errors(connect(self._path))
            self._first.query(f"CREATE DATABASE IF NOT EXISTS {OWN_DATABASE}", "Null")
            self.database = self._text(_IN_USE)
        except RuntimeError as error:
            raise WrongUseError(f"ClickHouse's engine cannot open {path}: {error}") from error

    def _text(self, sql: str) -> str:
        return bytes(self._first.query(sql, "TSVRaw").bytes()).decode().strip()

    def connect(self, scope: Scope) -> "Connection":
        """A connection with the scope's settings, parameters and database.

        Raises:
            ClickHouseError: a setting or the database is unknown, or a value is invalid.
        """
        with _engine_errors():
            connection = Connection(self._connect(self._path), scope, self._errors)
        try:
            connection.enter()
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the data. Call it after all connections are closed."""
        self._errors.close()
        self._first.close()


class Connection:
    """The connection of one request. It runs one statement; `close` ends it if it still runs."""

    def __init__(self, raw: Any, scope: Scope, errors: Errors) -> None:
        self._raw = raw
        self._scope = scope
        self._errors = errors
        self._running: Any = None  # chDB crashes if a connection closes before what runs on it

    def close(self) -> None:
        """Cancel a running statement. Blocks that an INSERT has written stay, as on a server."""
        if self._running is not None:
            with suppress(Exception):  # if it failed, its error was raised already
                self._running.cancel()  # does nothing after the end
        self._raw.close()

    def enter(self) -> None:
        """Apply the scope: first the settings, because `readonly` would forbid them.

        Raises:
            ClickHouseError: a setting or the database is unknown, or a value is invalid.
        """
        read_only = {"readonly": "2"} if self._scope.read_only else {}
        self._set({**_SERVER_DEFAULTS, **self._scope.settings, **read_only})
        if self._scope.database:
            with _engine_errors():
                self._raw.query(f"USE {quote(self._scope.database, '`')}".encode(), "Null")

    def _set(self, values: Mapping[str, str]) -> None:
        pairs = ", ".join(f"{_name(name)} = {quote(value)}" for name, value in values.items())
        with _engine_errors():
            self._raw.query(f"SET {pairs}".encode("utf-8", "surrogateescape"), "Null")

    def query(self, statement: Statement, answer_format: str) -> "Answer":
        """Run a statement. The answer's first part is ready when this returns.

        Raises:
            ClickHouseError: the statement failed. The answer's parts raise it too.
        """
        if _is_streamed(statement, answer_format, self._scope):
            try:
                return self._stream(statement.sql, answer_format)
            except ClickHouseError as error:
                if "Streaming query is not supported" not in error.text:
                    raise
        with _engine_errors():
            result = self._raw.query(statement.sql, answer_format, self._scope.parameters)
            written = Written(result.rows_written(), result.bytes_written())
            return Answer(iter([bytes(result.bytes())]), written)

    def _stream(self, sql: bytes, answer_format: str) -> "Answer":
        with _engine_errors():
            self._running = self._raw.send_query(sql, answer_format, self._scope.parameters)
        parts = _parts(self._running)
        # Read here, so that an early error becomes the status of the response.
        first = next(parts, None)
        return Answer(iter(()) if first is None else chain([first], parts))

    def insert(self, statement: Statement) -> None:
        """Start an INSERT. The engine parses the data while `append` passes them on.

        Raises:
            ClickHouseError: for example, the table, a column or the format does not exist.
        """
        if parameters := self._scope.parameters:  # chDB takes none with an INSERT
            self._set({f"param_{name}": value for name, value in parameters.items()})
        self._watch = Watch(self._errors)
        sql = statement.sql + f"\n/* {self._watch.mark} */".encode()
        with _engine_errors():
            self._running = self._raw.send_insert(sql, statement.format or "Values")
        self._watch.begin()

    def append(self, data: bytes) -> None:
        """Pass on the next data, cut at any byte.

        Raises:
            ClickHouseError: the data do not fit the format or the table.
        """
        with _engine_errors():
            self._running.append(data)

    def finish(self) -> Written:
        """Write the remaining rows. When this returns, all survive a crash of the process.

        Raises:
            ClickHouseError: as `append`; or a view or a constraint refused rows, or a disk is full.
        """
        with _engine_errors():
            result = self._running.finish()
        self._watch.check()
        return Written(result.rows_written, result.bytes_written)


@dataclass(frozen=True, slots=True)
class Answer:
    """A statement's answer in parts, and the rows that it wrote, if any."""

    parts: Iterator[bytes]
    written: Written = Written(0, 0)


def _parts(running: Any) -> Iterator[bytes]:
    with _engine_errors():
        for part in running:
            yield bytes(part.bytes())


@contextmanager
def _engine_errors() -> Iterator[None]:
    """Raises errors of chDB's Python binding as `ClickHouseError`."""
    try:
        yield
    except Exception as error:
        raise engine_error(error) from None


def quote(value: str, mark: str = "'") -> str:
    """`value` as a literal of ClickHouse's SQL."""
    escaped = value.replace("\\", "\\\\").replace(mark, "\\" + mark).replace("\0", "\\0")
    return f"{mark}{escaped}{mark}"


def _name(name: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise refusal(Code.UNKNOWN_SETTING, f"Unknown setting {name!r}.")
    return name


def _is_streamed(statement: Statement, answer_format: str, scope: Scope) -> bool:
    if statement.kind not in {"SELECT", "WITH"}:
        return False
    if answer_format in _STREAMED_PLAIN:
        text = statement.sql.lower()
        return not (b"totals" in text or b"extremes" in text or "extremes" in scope.settings)
    return answer_format in _STREAMED

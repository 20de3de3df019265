"""chDB, ClickHouse's engine in this process, with what an HTTP server needs of it.

A process has one engine on one folder. Each request has its own connection: it costs half a
millisecond, keeps settings apart, and lets statements run in parallel. Everything here blocks: call
it in a thread.
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
# Formats whose parts, one after the other, are the whole. The others have a head or a foot.
_STREAMED: Final = frozenset(
    {"Native", "RowBinary", "JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow"}
)
# These too, except for a separate row of totals or extremes at the end.
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
        with _told():
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
    """One request's connection: one statement, then `close`, which ends what still runs."""

    def __init__(self, raw: Any, scope: Scope, errors: Errors) -> None:
        self._raw = raw
        self._scope = scope
        self._errors = errors
        self._running: Any = None  # chDB crashes if a connection closes before what runs on it

    def close(self) -> None:
        """Give up what runs. Whole blocks of an INSERT that are written stay, as on a server."""
        if self._running is not None:
            with suppress(Exception):  # it may have failed, and that error was raised already
                self._running.cancel()  # does nothing when it has ended
        self._raw.close()

    def enter(self) -> None:
        """Take over the scope: settings first, since readonly would forbid them.

        Raises:
            ClickHouseError: a setting or the database is unknown, or a value is invalid.
        """
        read_only = {"readonly": "2"} if self._scope.read_only else {}
        self._set({**_SERVER_DEFAULTS, **self._scope.settings, **read_only})
        if self._scope.database:
            with _told():
                self._raw.query(f"USE {quote(self._scope.database, '`')}".encode(), "Null")

    def _set(self, values: Mapping[str, str]) -> None:
        pairs = ", ".join(f"{_name(name)} = {quote(value)}" for name, value in values.items())
        with _told():
            self._raw.query(f"SET {pairs}".encode("utf-8", "surrogateescape"), "Null")

    def query(self, statement: Statement, answer_format: str) -> "Answer":
        """Run a statement. The answer's first part is ready when this returns.

        Raises:
            ClickHouseError: also from the answer, when it breaks half-way.
        """
        if _is_streamed(statement, answer_format, self._scope):
            try:
                return self._stream(statement.sql, answer_format)
            except ClickHouseError as error:
                if "Streaming query is not supported" not in error.text:
                    raise
        with _told():
            result = self._raw.query(statement.sql, answer_format, self._scope.parameters)
            written = Written(result.rows_written(), result.bytes_written())
            return Answer(iter([bytes(result.bytes())]), written)

    def _stream(self, sql: bytes, answer_format: str) -> "Answer":
        with _told():
            self._running = self._raw.send_query(sql, answer_format, self._scope.parameters)
        parts = _parts(self._running)
        # Fetched here: what fails early becomes a status and no torso.
        first = next(parts, None)
        return Answer(iter(()) if first is None else chain([first], parts))

    def insert(self, statement: Statement) -> None:
        """Begin an INSERT. The engine parses while `append` brings its data.

        Raises:
            ClickHouseError: the table, a column or the format is not known, …
        """
        if parameters := self._scope.parameters:  # chDB takes none with an INSERT
            self._set({f"param_{name}": value for name, value in parameters.items()})
        self._watch = Watch(self._errors)
        sql = statement.sql + f"\n/* {self._watch.mark} */".encode()
        with _told():
            self._running = self._raw.send_insert(sql, statement.format or "Values")
        self._watch.begin()

    def append(self, data: bytes) -> None:
        """Some more data, cut anywhere.

        Raises:
            ClickHouseError: they are not what the format or the table asks for.
        """
        with _told():
            self._running.append(data)

    def finish(self) -> Written:
        """Write what is left. When this returns, the rows survive a crash of the process.

        Raises:
            ClickHouseError: as `append`; or a view, a constraint or the disk refused the rows.
        """
        with _told():
            result = self._running.finish()
        self._watch.check()
        return Written(result.rows_written, result.bytes_written)


@dataclass(frozen=True, slots=True)
class Answer:
    """A statement's answer in parts, and what it wrote, if that is known."""

    parts: Iterator[bytes]
    written: Written = Written(0, 0)


def _parts(running: Any) -> Iterator[bytes]:
    with _told():
        for part in running:
            yield bytes(part.bytes())


@contextmanager
def _told() -> Iterator[None]:
    """Turns the binding's bare errors into ClickHouse's."""
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

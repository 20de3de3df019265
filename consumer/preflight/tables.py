"""Checks that every table that a repeated insert reaches ignores the repetition.

An insert reaches the raw table, and each table that a materialized view fills from it, directly or
through another table. Users have such views too. Without a deduplication window the first retry
doubles a table's rows. The engine does not prevent it: a SummingMergeTree adds the rows again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from usagepipe.schemas.clickhouse.migrations import Target, load_migrations
from usagepipe.schemas.clickhouse.sql_files import fill, read_sql
from usagepipe.schemas.errors import StartRefusedError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

RAW: Final = "usage_events"

_NAME: Final = r"(?:`(?:[^`\\]|\\.)+`|\w+)"
_TARGET: Final = re.compile(rf"MATERIALIZED VIEW (?:{_NAME}\.)?{_NAME} TO ({_NAME})\.({_NAME}) ")
_DISTRIBUTED: Final = re.compile(r"Distributed\('(?:[^']*)', '([^']*)', '([^']*)'")
_SETTING: Final = re.compile(r"\b(\w*deduplication_window(?:_seconds)?) = (\d+)")
# The settings of a table's windows, with the values that the refusal suggests.
_PLAIN: Final = {"non_replicated_deduplication_window": 100_000}
_REPLICATED: Final = {
    "replicated_deduplication_window": 100_000,
    "replicated_deduplication_window_seconds": 2_592_000,
}

_sql: Final = partial(read_sql, "usagepipe.consumer.preflight")

Name = tuple[str, str]  # database and table


@dataclass(frozen=True, slots=True)
class _Table:
    """A table or view as `system.tables` describes it. `views` are those that inserts trigger."""

    database: str
    name: str
    uuid: str
    engine: str
    engine_full: str
    definition: str
    views: tuple[Name, ...]

    def __str__(self) -> str:
        return f"{self.database}.{self.name}"

    def leads_to(self) -> Iterator[Name]:
        """The tables and views that an insert into it reaches next."""
        if self.engine == "MaterializedView":
            yield from self._fills()
        elif self.engine == "Distributed":
            if found := _DISTRIBUTED.match(self.engine_full):
                yield found[1] or self.database, found[2]
        else:
            yield from self.views

    def _fills(self) -> Iterator[Name]:
        if found := _TARGET.search(self.definition):
            yield _unquoted(found[1]), _unquoted(found[2])
        elif self.uuid.strip("0-"):
            yield self.database, f".inner_id.{self.uuid}"
        else:
            yield self.database, f".inner.{self.name}"

    @property
    def keeps_rows(self) -> bool:
        return self.engine not in ("MaterializedView", "Distributed", "Null")

    @property
    def windows(self) -> Mapping[str, int]:
        """The settings of its windows, which must not be 0; empty if the engine has none."""
        if not self.engine.endswith("MergeTree"):
            return {}
        return _PLAIN if not self.engine.startswith(("Replicated", "Shared")) else _REPLICATED


def check_tables(client: "Client", target: Target) -> str:
    """Return the engine of the raw table if no repeated insert can double a row. Blocks.

    On a cluster it checks only the server that answers.

    Raises:
        StartRefusedError: tables are missing, or remember no insert. The message names all of them.
        clickhouse_connect.driver.exceptions.Error: the server is unreachable, or refuses to answer.
    """
    _check_existence(client, target)
    reached = list(_reached(client, (target.database, RAW)))
    defaults = _Defaults(client)
    forgetful = [table for table in reached if table.keeps_rows and not defaults.remembers(table)]
    if forgetful:
        raise StartRefusedError(" ".join(map(_sentence, forgetful)))
    local = target.local(RAW)
    return next(table.engine for table in reached if table.name == local)


def _check_existence(client: "Client", target: Target) -> None:
    existing = {name for (name,) in client.query(_sql("table_names")).result_rows}
    wanted = [
        migration.object_name(target)
        for migration in load_migrations()
        if target.cluster or not migration.cluster_only
    ]
    if missing := sorted({name for name in wanted if name not in existing}):
        raise StartRefusedError(
            f"The database {target.database} lacks {', '.join(missing)}. Run usagepipe migrate."
        )


def _reached(client: "Client", start: Name) -> Iterator[_Table]:
    """Every table and view that an insert into `start` reaches, each once."""
    seen: set[Name] = set()
    level = [start]
    while level:
        seen.update(level)
        found = _read(client, level)
        for name in level:
            if name not in found:
                raise StartRefusedError(_unseen(client, name))
        yield from found.values()
        ahead = (name for table in found.values() for name in table.leads_to())
        level = [name for name in dict.fromkeys(ahead) if name not in seen]


def _read(client: "Client", names: Iterable[Name]) -> dict[Name, _Table]:
    rows = client.query(_sql("tables"), parameters={"names": list(names)}).result_rows
    tables = (_Table(*(*row[:-1], tuple(map(tuple, row[-1])))) for row in rows)
    return {(table.database, table.name): table for table in tables}


class _Defaults:
    """The server's default windows, for tables without such a setting. Read when needed."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._read: dict[str, dict[str, int]] = {}

    def remembers(self, table: _Table) -> bool:
        own = {name: int(value) for name, value in _SETTING.findall(table.engine_full)}
        return bool(table.windows) and all(
            own[name] if name in own else self._of(table).get(name, 0) for name in table.windows
        )

    def _of(self, table: _Table) -> dict[str, int]:
        kind = "replicated_" if table.engine.startswith("Replicated") else ""
        if kind not in self._read:
            sql = fill(_sql("default_windows"), {"kind": kind})
            found = self._client.query(sql).result_rows
            self._read[kind] = {name: int(value) for name, value in found}
        return self._read[kind]


def _sentence(table: _Table) -> str:
    if not table.windows:
        return (
            f"{table} has the engine {table.engine}, which cannot recognize a repeated insert, so "
            "it would double: use a MergeTree with non_replicated_deduplication_window, or drop "
            "the view into it."
        )
    settings = ", ".join(f"{name} = {value}" for name, value in table.windows.items())
    return (
        f"{table} remembers no insert, so a repeated one would double: "
        f"ALTER TABLE {table} MODIFY SETTING {settings}."
    )


def _unseen(client: "Client", name: Name) -> str:
    database, table = name
    return (
        f"A view fills {database}.{table}, which is missing or hidden from the user of "
        f"{client.database}: create it, drop the view, or GRANT SHOW TABLES ON {database}.*."
    )


def _unquoted(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith("`") else name

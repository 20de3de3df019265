"""The applied migrations, from the table `usagepipe_migrations`, and the drift from them.

The latest row of a version counts: two concurrent runs may both write one, with the same content.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from usagepipe.schemas.clickhouse.migrations import Migration, Target, load_statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LEDGER = "usagepipe_migrations"
_TTL = re.compile(r"\nTTL .*?(?=\nSETTINGS |\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Applied:
    """An applied migration, and the definition of its object right after it."""

    version: int
    name: str
    checksum: str
    cluster: str
    object: str
    definition: str

    @classmethod
    def of(cls, migration: Migration, target: Target, definition: str) -> "Applied":
        return cls(
            version=migration.version,
            name=migration.name,
            checksum=migration.checksum,
            cluster=target.cluster,
            object=migration.object_name(target),
            definition=definition,
        )


MISSING: Final = (
    "It was dropped. usagepipe migrate --remake creates it again, empty; fill a rollup from "
    "the raw rows by usagepipe audit --repair."
)


@dataclass(frozen=True, slots=True)
class Drift:
    """A table or view that differs from its last migration. `difference` is a line diff."""

    object: str
    difference: str


def read_definitions(client: "Client", database: str) -> dict[str, str]:
    """The current definition of every table and view of the database, by name."""
    sql = load_statement("definitions_read.sql")
    rows = client.query(sql, parameters={"database": database}).result_rows
    return {name: definition for name, definition in rows}


def read_ledger(client: "Client") -> tuple[Applied, ...]:
    """Every applied migration, in order. The ledger must exist."""
    rows = client.query(load_statement("ledger_read.sql")).result_rows
    return tuple(Applied(*row) for row in rows)


def write_ledger(client: "Client", applied: Applied) -> None:
    """Record a migration, or record it again."""
    row = asdict(applied)
    client.insert(LEDGER, [[*row.values()]], column_names=[*row])


def find_drifts(applied: Sequence[Applied], definitions: Mapping[str, str]) -> tuple[Drift, ...]:
    """The tables and views that were altered or dropped by hand. Ignores retention."""
    latest = {entry.object: entry.definition for entry in applied}
    differences = {
        name: _difference(recorded, definitions.get(name)) for name, recorded in latest.items()
    }
    return tuple(Drift(name, each) for name, each in differences.items() if each)


def _difference(recorded: str, live: str | None) -> str:
    if live is None:
        return MISSING
    old, new = (_TTL.sub("", text).splitlines() for text in (recorded, live))
    lines = list(difflib.unified_diff(old, new, lineterm="", n=0))[2:]  # without the two headers
    return "\n".join(line for line in lines if not line.startswith("@@"))

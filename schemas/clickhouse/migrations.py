"""The numbered SQL files: read, checked, and rendered for one server or for a cluster.

A file is one statement about one object, and it may run twice (`IF NOT EXISTS`): ClickHouse has
no transaction around DDL, so an interrupted run or a concurrent one repeats statements.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from operator import attrgetter
from string import Template

from usagepipe.schemas.errors import MigrationError

_FILE_NAME = re.compile(r"\d{4}_[a-z0-9_]+(\.cluster)?\.sql")
_OBJECT = re.compile(
    r"(?:CREATE (?:TABLE|MATERIALIZED VIEW) IF NOT EXISTS|ALTER TABLE|INSERT INTO) (?P<object>\w+)"
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where statements run: a database on one server, or on every node of a cluster."""

    database: str
    cluster: str = ""

    def render(self, text: str, **more: str) -> str:
        """`text` with its placeholders filled in, and those of `more`, which are checked words.

        Raises:
            KeyError: the text has a placeholder that is not known.
        """
        words = {
            "database": self.database,
            "cluster": self.cluster,
            "on_cluster": f"ON CLUSTER {self.cluster}" if self.cluster else "",
            "local": self.local(""),
            "replicated": "Replicated" if self.cluster else "",
            "ledger_engine": self._ledger_engine(),
        }
        lines = Template(text).substitute(words | more).splitlines()
        return "\n".join(line.rstrip() for line in lines).strip()

    def local(self, table: str) -> str:
        """The name of the table that holds the rows: on a cluster `table` itself is Distributed."""
        return f"{table}_local" if self.cluster else table

    def _ledger_engine(self) -> str:
        if not self.cluster:
            return "MergeTree"
        # One table for all shards: its path names no shard, so the replica's name does.
        path = f"/clickhouse/tables/{self.database}/usagepipe_migrations"
        return f"ReplicatedMergeTree('{path}', '{{shard}}-{{replica}}')"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file. `name` is the file's name without `.sql`."""

    name: str
    text: str

    @property
    def version(self) -> int:
        return int(self.name[:4])

    @property
    def cluster_only(self) -> bool:
        return self.name.endswith(".cluster")

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def purpose(self) -> str:
        """The file's first line, without its comment sign."""
        return self.text.splitlines()[0].removeprefix("-- ")

    @property
    def adds(self) -> bool:
        """Whether the statement adds rows of which a token keeps a repetition from counting twice.

        A table that was dropped has lost its tokens; the tables that its views feed keep the rows.
        """
        return "insert_deduplication_token" in self.text

    def sql(self, target: Target) -> str:
        """The statement, for `target`."""
        return target.render(self.text)

    def object_name(self, target: Target) -> str:
        """The table or view that the statement creates or alters."""
        found = _OBJECT.search(self.sql(target))
        if found is None:
            raise MigrationError(f"{self.name}.sql neither creates nor alters a table or view.")
        return found["object"]


def load_migrations(folder: Traversable | None = None) -> tuple[Migration, ...]:
    """Every numbered file of `folder` (usagepipe's own unless given), in order from 0.

    Raises:
        MigrationError: a number is missing or used twice.
    """
    folder = folder or files("usagepipe.schemas.clickhouse")
    found = sorted(
        (_read(entry) for entry in folder.iterdir() if _FILE_NAME.fullmatch(entry.name)),
        key=attrgetter("name"),
    )
    for expected, migration in enumerate(found):
        if migration.version != expected:
            raise MigrationError(f"{migration.name}.sql should have the number {expected:04}.")
    return tuple(found)


def load_statement(name: str) -> str:
    """The text of an unnumbered file, such as `create_database.sql`."""
    return (files("usagepipe.schemas.clickhouse") / name).read_text(encoding="utf-8")


def _read(entry: Traversable) -> Migration:
    return Migration(entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8"))

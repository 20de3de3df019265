"""The tables of `usagepipe migrate`, for many databases of one server."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from tests.support.clickhouse_server import in_database, url_of
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.ledger import LEDGER
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.settings import ClickHouseAddress, Settings


@dataclass(frozen=True, slots=True)
class MigratedTables:
    """A migrated database, which `copy_to` repeats with a fifth of a migration's statements."""

    database: str
    statements: tuple[str, ...]

    @classmethod
    @contextmanager
    def on(cls, url: str) -> Iterator[Self]:
        """Migrate a database on this server, which stays as long as the context is open."""
        address = in_database(url, f"test_{uuid.uuid4().hex}")
        migrate(Settings.load(clickhouse=url_of(address)))
        with connect(address) as client:
            rows = client.query(
                "SELECT create_table_query FROM system.tables WHERE database = currentDatabase()"
                " ORDER BY engine = 'MaterializedView'"  # a view needs its tables
            ).result_rows
            yield cls(address.database, tuple(text for (text,) in rows))
            client.command(f"DROP DATABASE {address.database} SYNC")

    def copy_to(self, address: ClickHouseAddress) -> None:
        """Make the same tables and views in an empty database, as migrated as these."""
        with connect(address) as client:
            for statement in self.statements:
                client.command(statement.replace(self.database, address.database))
            client.command(
                f"INSERT INTO {LEDGER} SELECT * REPLACE (replaceAll(definition, '{self.database}',"
                f" '{address.database}') AS definition) FROM {self.database}.{LEDGER}"
            )

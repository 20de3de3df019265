"""Runs one statement on ClickHouse and gives its rows by name; failures become our own errors."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from usagepipe.query.statements import statement
from usagepipe.schemas.clickhouse.client import as_usagepipe_error
from usagepipe.schemas.errors import MissingExtraError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Ids travel in the request's URL, which ClickHouse bounds at 1 MiB: 100 ids of 256 characters of
# four bytes, percent-encoded, are 0.3 MB.
IDS_AT_ONCE: Final = 100


class Store:
    """The tables, to be read. Several threads may read at once through one store."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def rows(self, sql: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
        """The rows that `sql` answers. Blocks.

        Raises:
            ServerUnavailableError: ClickHouse does not answer.
            MigrationError: a table is missing.
            UsagePipeError: ClickHouse refused the query.
        """
        try:
            from clickhouse_connect.driver.exceptions import Error
        except ImportError as error:
            raise MissingExtraError("query", "clickhouse_connect") from error
        try:
            result = self._client.query(sql, parameters=dict(parameters))
        except Error as error:
            place = f"{self._client.uri}/{self._client.database}"
            raise as_usagepipe_error(error, place) from error
        return list(result.named_results())

    def names(self, kind: str, ids: Iterable[str]) -> dict[str, str]:
        """The latest names of the users or keys (`kind` is user or api_key) that have one."""
        wanted = sorted(set(ids) - {""})
        found: dict[str, str] = {}
        for first in range(0, len(wanted), IDS_AT_ONCE):
            some = wanted[first : first + IDS_AT_ONCE]
            for row in self.rows(statement("names"), {"kind": kind, "ids": some}):
                found[row["id"]] = row["name"]
        return found

    def close(self) -> None:
        self._client.close()

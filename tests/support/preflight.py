"""A ClickHouse that does not do what the preflight expects, and its scratch tables."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class Overruled:
    """A client whose server behaves differently: forced settings or changed statements."""

    def __init__(
        self,
        client: "Client",
        forced: Mapping[str, Any] | None = None,
        command: Callable[[str], str] = str,
    ) -> None:
        self._client = client
        self._forced = dict(forced or {})
        self._command = command

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def raw_insert(self, table: str, **options: Any) -> Any:
        options["settings"] |= self._forced
        return self._client.raw_insert(table, **options)

    def command(self, statement: str) -> Any:
        return self._client.command(self._command(statement))


def overruled(client: "Client", **options: Any) -> "Client":
    return cast("Client", Overruled(client, **options))


def scratch_names(client: "Client") -> list[str]:
    found = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return [name for (name,) in found.result_rows if name.startswith("usagepipe_preflight_")]


def make(client: "Client", *statements: str) -> None:
    for statement in statements:
        client.command(statement)

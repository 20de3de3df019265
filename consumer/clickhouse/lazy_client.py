"""The one way in which the consumer connects to ClickHouse: at the first use, not before."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class LazyClient:
    """A client that connects at its first use, and again at the first use after `close`.

    Threads may share it. Its methods raise the errors of the driver and of `connect`.
    """

    def __init__(self, address: ClickHouseAddress, seconds: float) -> None:
        """`seconds` is the timeout of one statement."""
        self._address = address
        self._seconds = seconds
        self._connecting = Lock()
        self._client: Client | None = None

    def get(self) -> "Client":
        """The connected client. Blocks at the first call."""
        with self._connecting:
            if self._client is None:
                self._client = connect(self._address, send_receive_timeout=self._seconds)
            return self._client

    def rows(
        self, sql: str, parameters: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]]:
        """The rows of a query. Blocks."""
        found = self.get().query(sql, parameters=dict(parameters), settings=dict(settings))
        rows: Sequence[Sequence[Any]] = found.result_rows
        return rows

    def close(self) -> None:
        """End the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

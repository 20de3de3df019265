"""Runs statements on ClickHouse, and turns the driver's errors into ours."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from io import BufferedReader
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from usagepipe.query.statements import statement
from usagepipe.schemas.clickhouse.client import WHOLE_ANSWERS, usagepipe_errors
from usagepipe.schemas.codec import decode
from usagepipe.schemas.errors import EventRejectedError, ServerUnavailableError, UsagePipeError
from usagepipe.schemas.event import UsageEvent

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Ids travel in the request's URL, which ClickHouse bounds at 1 MiB: 100 ids of 256 characters of
# four bytes, percent-encoded, are 0.3 MB.
IDS_AT_ONCE: Final = 100
READ_BYTES: Final = 1 << 18  # of an answer's lines at once
Answer = TypeVar("Answer")


class Store:
    """Reads the tables. Thread-safe."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def rows(
        self,
        sql: str,
        parameters: Mapping[str, object],
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> list[dict[str, Any]]:
        """The rows of a query. Blocks.

        Raises:
            ServerUnavailableError: ClickHouse does not answer.
            MigrationError: a table is missing.
            UsagePipeError: ClickHouse refused the query.
        """
        with self._translated():
            result = self._client.query(sql, parameters=dict(parameters), settings=dict(settings))
        return list(result.named_results())

    def lines(self, sql: str, parameters: Mapping[str, object]) -> Iterator[bytes]:
        """Yield the rows of a query as lines of JSON, without holding all in memory.

        Raises:
            ServerUnavailableError: ClickHouse does not answer, or broke off.
            MigrationError: a table is missing.
            UsagePipeError: ClickHouse refused the query.
        """
        with self._translated():
            answer: Any = self._client.raw_stream(
                sql,
                parameters=dict(parameters),
                # The server keeps the answer until it has all of it (on its disk, where it is
                # large): an error is then a status, never the end of an answer.
                settings={"wait_end_of_query": 1, **WHOLE_ANSWERS},
                fmt="JSONEachRow",
            )
            answer.auto_close = False  # at its end the reader still asks it
            with closing(answer), BufferedReader(answer, READ_BYTES) as lines:
                yield from lines

    def events(self, sql: str, parameters: Mapping[str, object]) -> Iterator[UsageEvent]:
        """Yield the rows of a query for all fields of events. Raises the errors of `lines`, and:

        UsagePipeError: a row is no event.
        """
        for line in self.lines(sql, parameters):
            try:
                yield decode(line)
            except EventRejectedError as error:  # inserted by hand
                raise UsagePipeError(f"A row of usage_events is no event: {error}.") from None

    def call(self, function: Callable[..., Answer], *arguments: object) -> Answer:
        """What `function(client, *arguments)` returns. Blocks, and raises the errors of `rows`."""
        with self._translated():
            return function(self._client, *arguments)

    def names(self, kind: str, ids: Iterable[str]) -> dict[str, str]:
        """The latest names of users or API keys, by id. `kind` is user or api_key."""
        wanted = sorted(set(ids) - {""})
        found: dict[str, str] = {}
        for first in range(0, len(wanted), IDS_AT_ONCE):
            some = wanted[first : first + IDS_AT_ONCE]
            for row in self.rows(statement("names"), {"kind": kind, "ids": some}):
                found[row["id"]] = row["name"]
        return found

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        from urllib3.exceptions import HTTPError  # of the driver: not in a bare install

        place = f"{self._client.uri}/{self._client.database}"
        try:
            with usagepipe_errors(place):
                yield
        except HTTPError as error:  # while an answer is read, the driver is not asked
            raise ServerUnavailableError("ClickHouse", place, "its answer broke off.") from error

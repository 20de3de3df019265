"""What an audit asks the tables, without them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.consumer.maintenance.audit_queries import AuditQueries
from usagepipe.schemas.event import MAX_ID_CHARS
from usagepipe.schemas.settings import Settings

HTTP_MAX_FIELD_VALUE_SIZE: Final = 131_072  # ClickHouse's default: bytes of one parameter
BYTES_BESIDE: Final = 3  # two quotes and a comma


class Questions(LazyClient):
    """A client that keeps the producers of each question, and finds no rows."""

    def __init__(self) -> None:
        super().__init__(Settings().clickhouse_address, 1)
        self.asked: list[list[str]] = []

    def rows(
        self, sql: str, parameters: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]]:
        self.asked.append(parameters["producers"])
        return []


def test_producers_names_fit_into_a_parameter_whatever_they_are() -> None:
    """A server refuses what is longer than its limit, and with it the audit would fail."""
    names = [f"{number:04}".ljust(MAX_ID_CHARS, "👍") for number in range(1_234)]
    client = Questions()

    AuditQueries(client, "id").stored_sequences(names, from_one=True)

    assert names == [name for asked in client.asked for name in asked]
    longest = max(sum(len(n.encode()) + BYTES_BESIDE for n in asked) for asked in client.asked)
    assert longest <= HTTP_MAX_FIELD_VALUE_SIZE

"""One embedded ClickHouse for all tests of this folder that a process runs."""

import uuid
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from tests.support.embedded_clickhouse import client_of
from usagepipe.local import LocalClickHouse


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    with LocalClickHouse(tmp_path_factory.mktemp("local") / "data") as server:
        yield server


@pytest.fixture
def client(server: LocalClickHouse) -> Iterator[Client]:
    """A client in a database of the test's own."""
    database = f"test_{uuid.uuid4().hex}"
    with client_of(server) as first:
        first.command(f"CREATE DATABASE {database}")
    with client_of(server, database) as client:
        yield client
        client.command(f"DROP DATABASE {database}")

"""Finds the ClickHouse of a test run: one that is set, else a container, else the local one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tests.support.ports import lasting_port
from tests.support.servers import NoServerError, Server, docker_answers
from usagepipe.local import LocalClickHouse
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.errors import MissingExtraError
from usagepipe.schemas.settings import ClickHouseAddress

VARIABLE: Final = "USAGEPIPE_TEST_CLICKHOUSE"
IMAGE: Final = "clickhouse/clickhouse-server:26.8.20.9"
START_SECONDS: Final = 120  # a container's image may have to be fetched first
REACH_SECONDS: Final = 10


@contextmanager
def clickhouse_server(folder: Path) -> Iterator[Server]:
    """A ClickHouse that answers, for as long as the context is open; its address is a URL.

    `folder` is for the data of the local one.

    Raises:
        NoServerError: there is none, and none can be started.
        UsagePipeError: the one that `USAGEPIPE_TEST_CLICKHOUSE` names does not answer.
    """
    if given := os.environ.get(VARIABLE):
        address = ClickHouseAddress.parse(given)
        connect(address, wait_seconds=REACH_SECONDS, database=None).close()
        yield Server(f"ClickHouse at {address} ({VARIABLE})", given)
    elif docker_answers():
        with _container() as server:
            yield server
    else:
        with local_clickhouse(folder) as clickhouse:
            label = f"usagepipe local (chDB {version('chdb-core')})"
            yield Server(label, clickhouse.url)


@contextmanager
def _container() -> Iterator[Server]:
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(IMAGE).with_exposed_ports(8123)
    with container.with_env("CLICKHOUSE_SKIP_USER_SETUP", "1") as running:
        url = f"http://{running.get_container_host_ip()}:{running.get_exposed_port(8123)}"
        connect(ClickHouseAddress.parse(url), wait_seconds=START_SECONDS).close()
        yield Server(f"{IMAGE} in a container", url)


def local_clickhouse(folder: Path) -> LocalClickHouse:
    """A local ClickHouse that is not started yet, on a port it keeps over its crashes.

    Raises:
        NoServerError: the extra it needs is not installed.
    """
    try:
        import chdb  # noqa: F401  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        reason = MissingExtraError("local", "chdb")
        raise NoServerError(f"Docker does not answer; {reason}") from error
    return LocalClickHouse(folder, lasting_port())


def in_database(url: str, database: str) -> ClickHouseAddress:
    """The address of another database on the server at `url`."""
    return replace(ClickHouseAddress.parse(url), database=database)


def url_of(address: ClickHouseAddress) -> str:
    """The address as `USAGEPIPE_CLICKHOUSE` takes it, password and all."""
    scheme = "https" if address.secure else "http"
    account = f"{quote(address.user, safe='')}:{quote(address.password, safe='')}"
    return f"{scheme}://{account}@{address.host}:{address.port}/{address.database}"

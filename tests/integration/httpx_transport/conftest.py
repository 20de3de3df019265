"""A provider on loopback, and each library's clients behind our transports."""

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

from tests.support.httpx_clients import Client, provider
from tests.support.loopback import serving


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(provider, lifespan="off") as address:
        yield address


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, library: Any, url: str) -> Client:
    return Client(library, url, is_async=request.param == "async")

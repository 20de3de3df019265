"""Questions about usage."""

from typing import TYPE_CHECKING

import pytest

from tests.support.past_usage import NOW
from usagepipe.query import UsageQueries
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@pytest.fixture
def usage(migrated: ClickHouseAddress, clickhouse_client: "Client") -> UsageQueries:
    """Questions at the moment `NOW`."""
    return UsageQueries(clickhouse_client, clock=lambda: NOW)

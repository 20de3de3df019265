"""The URL of ClickHouse: its parts, and wrong ones that are refused without being shown."""

import pytest

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import ClickHouseAddress, Settings

PASSWORD = "hunter2"
WRONG_URLS = [
    f"ann:{PASSWORD}@db:8123",
    f"tcp://ann:{PASSWORD}@db:9000/usage",
    f"http://ann:{PASSWORD}/x@db:8123/usage",
    f"http://ann:12345/{PASSWORD}@db:8123/usage",
    f"http://ann:{PASSWORD}@:8123/usage",
    f"http://ann:{PASSWORD}@db:{PASSWORD}/usage",
    f"http://ann:{PASSWORD}@db:8123/a-b",
    f"http://ann:{PASSWORD}@[db:8123/usage",
    f"http://ann:{PASSWORD}@db:8123/usage?x={PASSWORD}",
    f"http://ann:{PASSWORD}@db:8123?secure=1",
    f"http://ann:{PASSWORD}@db:8123/usage#{PASSWORD}",
    f"http://ann:123?{PASSWORD}@db:8123/usage",
    f"http://ann:123#{PASSWORD}@db:8123/usage",
    PASSWORD,
]


def test_clickhouse_url_has_every_part() -> None:
    """User, password, host, port and database come from the one URL, decoded."""
    address = Settings.load(clickhouse="https://a%40b:p%2Fw%3A@db:9440/usage").clickhouse_address

    assert ClickHouseAddress("db", 9440, "a@b", "p/w:", "usage", secure=True) == address


@pytest.mark.parametrize(
    ("url", "port"), [("http://db", 8123), ("https://db", 8443), ("http://db:1/", 1)]
)
def test_clickhouse_url_may_be_short(url: str, port: int) -> None:
    """Port, user and database have ClickHouse's own defaults."""
    address = ClickHouseAddress.parse(url)

    assert (port, "default", "default") == (address.port, address.user, address.database)


@pytest.mark.parametrize("url", WRONG_URLS)
def test_wrong_url_is_refused_without_being_shown(url: str) -> None:
    """A URL may hold a password: neither the text nor its causes show a part of a wrong one."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(clickhouse=url)

    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ is True


def test_query_parameters_of_the_url_are_refused() -> None:
    """They would have no effect."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(clickhouse="http://db:8123/usage?async_insert=1")

    (problem,) = caught.value.problems
    assert problem.startswith("USAGEPIPE_CLICKHOUSE has a ? or #")
    assert "query parameters are not supported: write http://user:password@host" in problem

"""One client for several threads, connected at the first use."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest

from usagepipe.consumer.clickhouse import lazy_client
from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.schemas.settings import ClickHouseAddress

ADDRESS = ClickHouseAddress.parse("http://user:secret@host:8123/usage")


class FakeClient:
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[FakeClient]:
    """The clients that were connected."""
    made: list[FakeClient] = []

    def connect(address: ClickHouseAddress, **options: object) -> FakeClient:
        assert (ADDRESS, {"send_receive_timeout": 7.5}) == (address, options)
        sleep(0.01)  # so that other threads ask meanwhile
        made.append(FakeClient())
        return made[-1]

    monkeypatch.setattr(lazy_client, "connect", connect)
    return made


def test_it_connects_at_the_first_use(connected: list[FakeClient]) -> None:
    """Making and closing one costs no connection."""
    LazyClient(ADDRESS, 7.5).close()

    assert [] == connected


def test_threads_share_one_client(connected: list[FakeClient]) -> None:
    """Threads that use it for the first time at once wait for one connection."""
    client = LazyClient(ADDRESS, 7.5)
    with ThreadPoolExecutor(4) as threads:
        found: list[object] = [
            each.result() for each in [threads.submit(client.get) for _ in range(4)]
        ]

    assert connected == list(dict.fromkeys(found))
    assert 1 == len(connected)


def test_a_closed_one_connects_again(connected: list[FakeClient]) -> None:
    """A use after `close` gets a new client, and the old one is closed."""
    client = LazyClient(ADDRESS, 7.5)
    first: object = client.get()
    client.close()
    second: object = client.get()

    assert connected == [first, second]
    assert [True, False] == [each.closed for each in connected]

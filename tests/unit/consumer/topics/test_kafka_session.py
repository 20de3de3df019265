"""How long commands repeat a request that Kafka answers with a passing error."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from aiokafka.errors import LeaderNotAvailableError, RequestTimedOutError

from usagepipe.consumer.topics import kafka_session
from usagepipe.consumer.topics.kafka_session import KafkaSession
from usagepipe.schemas.errors import ServerUnavailableError
from usagepipe.schemas.settings import StorageSettings


class Admin:
    """aiokafka's admin client, without a server."""

    def __init__(self, **_: object) -> None: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaSession]:
    monkeypatch.setattr(kafka_session, "AIOKafkaAdminClient", Admin)
    monkeypatch.setattr(kafka_session, "probe", lambda kafka: "")
    monkeypatch.setattr(kafka_session, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(kafka_session, "PAUSE_SECONDS", 0.01)
    with closing(KafkaSession(StorageSettings.load())) as opened:
        yield opened


def test_an_election_may_take_as_long_as_a_request(session: KafkaSession) -> None:
    """The errors of an election come at once, so their number says nothing about its time."""
    elected_at = time.monotonic() + 0.2

    async def ask(admin: object) -> str:
        if time.monotonic() < elected_at:
            raise LeaderNotAvailableError
        return "answer"

    assert "answer" == session.run(ask)


def test_a_broker_that_hangs_is_asked_once(session: KafkaSession) -> None:
    """A request that takes all the time is not repeated: a command would wait for minutes."""
    asked = []

    async def ask(admin: object) -> None:
        asked.append(admin)
        await asyncio.sleep(0.31)
        raise RequestTimedOutError

    with pytest.raises(ServerUnavailableError):
        session.run(ask)
    assert 1 == len(asked)

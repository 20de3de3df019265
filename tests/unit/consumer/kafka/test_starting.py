"""What the health says while a worker waits for its topic, and after."""

import asyncio

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError

from usagepipe.consumer.kafka.starting import await_topic
from usagepipe.consumer.runtime.health import Health

pytestmark = pytest.mark.anyio


async def test_a_missing_topic_is_a_trouble_until_the_wait_ends() -> None:
    """A worker that is stopped before the topic exists reports the stop, not the topic."""
    health = Health(assigned=True)
    looked = asyncio.Event()

    async def look(topic: str) -> None:
        looked.set()
        raise UnknownTopicOrPartitionError(topic)

    waiting = asyncio.create_task(await_topic("t", look, health))
    await looked.wait()
    await asyncio.sleep(0)
    while_waiting = set(health.troubles)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert ({"topic"}, set()) == (while_waiting, set(health.troubles))

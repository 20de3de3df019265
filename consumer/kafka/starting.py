"""Waits at the start for a broker that is unreachable, and for a topic that does not exist yet."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.retry import until_answered

log = structlog.get_logger()

TRIES_PER_LINE: Final = 10  # of the log


async def when_answered(
    start: Callable[[], Awaitable[None]], discard: Callable[[], Awaitable[None]]
) -> None:
    """Call `start` until the broker answers, and `discard` after each time it did not."""

    async def attempt() -> None:
        try:
            await start()
        except KafkaError:  # also one that a broker only has while it starts
            await discard()
            raise

    def failed(tries: int, error: Exception) -> None:
        if tries % TRIES_PER_LINE == 1:
            log.warning("kafka_away", tries=tries, error=str(error))

    await until_answered(attempt, failed, KafkaError)


async def await_topic(topic: str, look: Callable[[str], Awaitable[None]], health: Health) -> None:
    """Call `look` until it finds the topic, and log once that it is missing."""
    logged = False

    def failed(tries: int, error: Exception) -> None:
        nonlocal logged
        if isinstance(error, UnknownTopicOrPartitionError) and not logged:
            log.error("topic_missing", topic=topic, cure="run usagepipe migrate")
            logged = True
        health.failed("topic", error)

    try:
        await until_answered(partial(look, topic), failed, KafkaError)
    finally:
        health.succeeded("topic")  # also where the worker stops before it exists

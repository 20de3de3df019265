"""Asks Kafka over aiokafka, for commands: they have no event loop of their own."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
)

from usagepipe.consumer.topics.kafka_credentials import aiokafka_options
from usagepipe.schemas.errors import AccessError, ServerUnavailableError, UsagePipeError
from usagepipe.schemas.kafka_trouble import READ, probe, right_refusal
from usagepipe.schemas.settings.kafka import KafkaSettings

Result = TypeVar("Result")

# Of one request, and of its repetitions: a coordinator loads its log, or brokers elect a leader.
REQUEST_SECONDS: Final = 15.0
PAUSE_SECONDS: Final = 0.5

_UNAVAILABLE: Final = (
    KafkaConnectionError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    TimeoutError,
)


class KafkaSession:
    """aiokafka's admin client. Use it in one thread, without a running event loop; close it."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connects at the first call of `run`."""
        self._kafka = kafka
        self._runner = asyncio.Runner()
        self._admin: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        if self._admin is not None:
            self._runner.run(self._admin.close())
        self._runner.close()

    def run(self, ask: Callable[[Any], Awaitable[Result]]) -> Result:
        """What `ask` returns, which gets the admin client. Repeats it after a passing error.

        Raises:
            ServerUnavailableError: no broker answered.
            AccessError: a right is missing.
            UsagePipeError: the broker refused.
        """
        with _our_errors(self._kafka):
            return self._runner.run(self._patiently(ask))

    def ask_leaders(self, topic: str, ask: Callable[[Any], Awaitable[Result]]) -> Result:
        """As `run`, but `ask` gets aiokafka's client, which knows the leaders of `topic`."""

        async def ask_client(admin: Any) -> Result:
            await admin._client.add_topic(topic)
            return await ask(admin._client)

        return self.run(ask_client)

    async def _patiently(self, ask: Callable[[Any], Awaitable[Result]]) -> Result:
        if self._admin is None:
            admin = AIOKafkaAdminClient(
                **aiokafka_options(self._kafka), request_timeout_ms=int(REQUEST_SECONDS * 1000)
            )
            await admin.start()
            self._admin = admin
        deadline = time.monotonic() + REQUEST_SECONDS
        while True:
            try:
                return await ask(self._admin)
            except KafkaError as error:
                if not error.retriable or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)


@contextmanager
def _our_errors(kafka: KafkaSettings) -> Iterator[None]:
    """Raise what a user can act on in place of aiokafka's errors."""
    try:
        yield
    except _UNAVAILABLE as error:
        reason = probe(kafka) or str(error)
        raise ServerUnavailableError("Kafka", kafka.kafka, reason) from error
    except KafkaError as error:
        if (cause := right_refusal(kafka, error.errno, READ)) is not None:
            raise AccessError(f"Kafka at {kafka.kafka} refuses: {cause}.") from error
        raise UsagePipeError(f"Kafka at {kafka.kafka} refused: {error}") from error

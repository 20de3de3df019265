"""Turns aiokafka's errors into ours, for commands."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from usagepipe.schemas.errors import AccessError, ServerUnavailableError, UsagePipeError
from usagepipe.schemas.kafka_trouble import READ, probe, right_refusal
from usagepipe.schemas.settings.kafka import KafkaSettings


@contextmanager
def aiokafka_errors(kafka: KafkaSettings) -> Iterator[None]:
    """Raise what a user can act on in place of aiokafka's errors.

    Raises:
        ServerUnavailableError: no broker answered.
        AccessError: a right is missing.
        UsagePipeError: the broker refused.
    """
    try:
        yield
    except (KafkaConnectionError, KafkaTimeoutError, TimeoutError) as error:
        reason = probe(kafka) or str(error)
        raise ServerUnavailableError("Kafka", kafka.kafka, reason) from error
    except KafkaError as error:
        if (cause := right_refusal(kafka, error.errno, READ)) is not None:
            raise AccessError(f"Kafka at {kafka.kafka} refuses: {cause}.") from error
        raise UsagePipeError(f"Kafka at {kafka.kafka} refused: {error}") from error

"""Finds out why Kafka does not answer: aiokafka only logs the reason, its callers never see it."""

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from usagepipe.consumer.topics.kafka_credentials import aiokafka_options
from usagepipe.schemas.errors import AccessError
from usagepipe.schemas.kafka_trouble import login_refusal
from usagepipe.schemas.settings.kafka import KafkaSettings

LOGIN_ERRORS = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
ANSWER_SECONDS = 3.0  # of each broker


async def probe_kafka(kafka: KafkaSettings) -> None:
    """Return if one broker of the settings answers and accepts this process.

    Raises:
        OSError: the last broker cannot be resolved or reached, or its TLS fails.
        TimeoutError: it does not answer.
        AccessError: it does not accept the user or the token.
        aiokafka.errors.KafkaError: it refuses for another reason.
    """
    options = aiokafka_options(kafka)
    failure: Exception = KafkaConnectionError("no broker is named")
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers")):
        try:
            await _ask(host, port, options)
        except LOGIN_ERRORS as error:
            failure = AccessError(f"login refused: {login_refusal(kafka, str(error))}")
        except (OSError, KafkaError) as error:
            failure = error
        else:
            return
    raise failure


async def _ask(host: str, port: int, options: dict[str, object]) -> None:
    timeout = int(ANSWER_SECONDS * 1000)
    connection = await create_conn(host, port, request_timeout_ms=timeout, **options)
    try:
        await connection.send(MetadataRequest([]))
    finally:
        connection.close()

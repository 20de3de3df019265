"""The properties of librdkafka for the Kafka of a process. All its clients use them."""

from collections.abc import Callable
from typing import Any

from usagepipe.schemas.oauth_tokens import oauth_tokens
from usagepipe.schemas.settings.kafka import OAUTH, KafkaSettings


def librdkafka_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Where Kafka is and how to log in, as librdkafka's properties. They hold secrets.

    With OAUTHBEARER this fetches a token first, for up to 5 s. Without one, the client's
    constructor would wait for 10 s and then fail without the reason.

    Raises:
        AccessError: there is no token.
        ValueError: the file of a secret cannot be read.
    """
    config: dict[str, Any] = {"bootstrap.servers": kafka.kafka}
    if kafka.kafka_protocol != "PLAINTEXT":
        config["security.protocol"] = kafka.kafka_protocol
    if kafka.kafka_tls:
        config |= _tls(kafka)
    match kafka.kafka_sasl_mechanism:
        case "":
            pass
        case "OAUTHBEARER":
            config |= {"sasl.mechanism": OAUTH, "oauth_cb": _token_callback(kafka)}
        case mechanism:
            config |= {
                "sasl.mechanism": mechanism,
                "sasl.username": kafka.kafka_sasl_username,
                "sasl.password": kafka.kafka_password,
            }
    return config


Given = tuple[str, float, str, dict[str, str]]  # token, seconds since 1970, principal, extensions


def _token_callback(kafka: KafkaSettings) -> Callable[[str | None], Given]:
    """The callback that librdkafka calls in its own thread for the first token and each renewal."""
    tokens = oauth_tokens(kafka)
    tokens.token()

    def callback(_: str | None) -> Given:
        token = tokens.token()
        return token.value, token.expires_at, "", kafka.kafka_extensions

    return callback


def _tls(kafka: KafkaSettings) -> dict[str, Any]:
    verify = kafka.kafka_tls_verify
    config: dict[str, Any] = {
        "enable.ssl.certificate.verification": verify,
        "ssl.endpoint.identification.algorithm": "https" if verify else "none",
    }
    if kafka.kafka_tls_ca:
        config["ssl.ca.location"] = kafka.kafka_tls_ca
    if kafka.kafka_tls_certificate:
        config["ssl.certificate.location"] = kafka.kafka_tls_certificate
        config["ssl.key.location"] = kafka.kafka_tls_key or kafka.kafka_tls_certificate
    if password := kafka.kafka_key_password:
        config["ssl.key.password"] = password
    return config

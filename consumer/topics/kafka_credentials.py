"""Translates the login settings of Kafka for Faust and aiokafka."""

import asyncio
from typing import Any

import faust
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError
from faust.types.auth import CredentialsT

from usagepipe.schemas.errors import AccessError
from usagepipe.schemas.oauth_tokens import oauth_tokens
from usagepipe.schemas.settings.kafka import OAUTH, KafkaSettings


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped
    """Fetches a token for each connection of aiokafka."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._tokens = oauth_tokens(kafka)
        self._extensions = kafka.kafka_extensions

    async def token(self) -> str:
        """A token. A thread fetches it if there is none that is still valid.

        Raises:
            AuthenticationFailedError: the provider returned none. aiokafka retries.
        """
        try:
            return (await asyncio.to_thread(self._tokens.token)).value
        except AccessError as error:
            raise AuthenticationFailedError(str(error)) from None

    def extensions(self) -> dict[str, str]:
        return self._extensions


def aiokafka_options(kafka: KafkaSettings) -> dict[str, Any]:
    """The address and the login of Kafka, as options of aiokafka's clients. Contains secrets.

    Raises:
        ValueError: a file can no longer be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in kafka.kafka.split(",")],
        "security_protocol": kafka.kafka_protocol,
    }
    if kafka.kafka_tls:
        options["ssl_context"] = kafka.kafka_tls_context()
    if mechanism := kafka.kafka_sasl_mechanism:
        options["sasl_mechanism"] = mechanism
    if mechanism == OAUTH:
        options["sasl_oauth_token_provider"] = TokenProvider(kafka)
    elif mechanism:
        options["sasl_plain_username"] = kafka.kafka_sasl_username
        options["sasl_plain_password"] = kafka.kafka_password
    return options


def faust_credentials(kafka: KafkaSettings) -> CredentialsT | None:
    """Faust's `broker_credentials`; None without TLS and login.

    Faust derives the protocol from the SSL context alone: credentials without one are sent in
    plain text, so TLS always comes with its context.

    Raises:
        ValueError: a file can no longer be read.
    """
    context = kafka.kafka_tls_context() if kafka.kafka_tls else None
    match kafka.kafka_sasl_mechanism:
        case "":
            return faust.SSLCredentials(context) if context is not None else None
        case "OAUTHBEARER":
            return faust.OAuthCredentials(oauth_cb=TokenProvider(kafka), ssl_context=context)
        case mechanism:
            return faust.SASLCredentials(
                username=kafka.kafka_sasl_username,
                password=kafka.kafka_password,
                ssl_context=context,
                mechanism=mechanism,
            )

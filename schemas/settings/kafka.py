"""The Kafka of a process: its address, TLS and login.

`kafka_checks` finds settings that do not fit together. `kafka_clients` turns these settings into
librdkafka's properties, and the consumer's `kafka_credentials` into those of Faust and aiokafka.
"""

import re
import ssl
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from usagepipe.schemas.settings.secret_files import Tls, secret

OAUTH: Final = "OAUTHBEARER"
_HOST = re.compile(r"[^\s/@]+")  # a name or an address, and no URL
_NO_SECRET = SecretStr("")


def _upper(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


Mechanism = Annotated[
    Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"], BeforeValidator(_upper)
]
Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


def _check_bootstrap(value: str) -> str:
    if "@" in value:  # not quoted: a password may be part of it
        raise ValueError(
            "has an @: write host:port; user and password are USAGEPIPE_KAFKA_SASL_USERNAME and "
            "USAGEPIPE_KAFKA_SASL_PASSWORD"
        )
    for server in value.split(","):
        host, colon, port = server.strip().rpartition(":")
        if not (colon and _HOST.fullmatch(host) and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"is {value!r}: write host:port, several with commas between them")
    return value


class KafkaSettings(BaseSettings):
    """The Kafka of a process. Its texts never show a secret."""

    kafka: Annotated[str, AfterValidator(_check_bootstrap)] = Field(
        default="127.0.0.1:9092", description="Kafka's bootstrap servers: host:port[,host:port…]."
    )
    kafka_tls: bool = Field(default=False, description="Whether to connect to Kafka with TLS.")
    kafka_tls_verify: bool = Field(
        default=True,
        description="Whether to verify the broker's certificate and host name. off lets anybody "
        "read and change what is sent.",
    )
    kafka_tls_ca: str = Field(
        default="",
        description="PEM file of the CAs that sign the brokers' certificates; empty is those that "
        "the system trusts.",
    )
    kafka_tls_certificate: str = Field(
        default="", description="PEM file of the client certificate, for mutual TLS."
    )
    kafka_tls_key: str = Field(
        default="",
        description="PEM file of its private key; empty: it is in the certificate's file.",
    )
    kafka_tls_key_password: SecretStr = Field(
        default=_NO_SECRET, description="Password of the private key."
    )
    kafka_tls_key_password_file: str = Field(
        default="", description="File that holds the password of the private key."
    )
    kafka_allow_plaintext: bool = Field(
        default=False, description="on allows SASL without TLS: secrets are sent in plain text."
    )
    kafka_sasl_mechanism: Mechanism = Field(
        default="",
        description="How to log in to Kafka: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER; "
        "empty: without SASL.",
    )
    kafka_sasl_username: str = Field(default="", description="User of PLAIN and SCRAM.")
    kafka_sasl_password: SecretStr = Field(default=_NO_SECRET, description="Password of that user.")
    kafka_sasl_password_file: str = Field(default="", description="File that holds that password.")
    kafka_oauth_token_url: str = Field(
        default="", description="Token endpoint for OAUTHBEARER (OIDC client credentials)."
    )
    kafka_oauth_client_id: str = Field(default="", description="Client id of OAUTHBEARER.")
    kafka_oauth_client_secret: SecretStr = Field(
        default=_NO_SECRET, description="Client secret of OAUTHBEARER."
    )
    kafka_oauth_client_secret_file: str = Field(
        default="", description="File that holds the client secret."
    )
    kafka_oauth_scope: str = Field(
        default="", description="Scopes to ask for, with spaces between them."
    )
    kafka_oauth_extensions: str = Field(
        default="", description="SASL extensions, key=value with commas, as `logicalCluster=lkc-1`."
    )
    kafka_oauth_ca: str = Field(
        default="",
        description="PEM file of the CAs that sign the token endpoint's certificate; empty is "
        "those that the system trusts.",
    )

    @property
    def kafka_protocol(self) -> Protocol:
        """The value of Kafka's `security.protocol`."""
        if self.kafka_sasl_mechanism:
            return "SASL_SSL" if self.kafka_tls else "SASL_PLAINTEXT"
        return "SSL" if self.kafka_tls else "PLAINTEXT"

    @property
    def kafka_password(self) -> str:
        """The password for PLAIN and SCRAM. Its file is read again each time."""
        return secret(self.kafka_sasl_password, self.kafka_sasl_password_file)

    @property
    def kafka_key_password(self) -> str:
        return secret(self.kafka_tls_key_password, self.kafka_tls_key_password_file)

    @property
    def kafka_client_secret(self) -> str:
        return secret(self.kafka_oauth_client_secret, self.kafka_oauth_client_secret_file)

    @property
    def kafka_extensions(self) -> dict[str, str]:
        """Of OAUTHBEARER."""
        pairs = (pair.partition("=") for pair in self.kafka_oauth_extensions.split(","))
        return {key.strip(): value.strip() for key, sign, value in pairs if sign}

    def kafka_tls_context(self) -> ssl.SSLContext:
        """The TLS context for Python's clients.

        Raises:
            ValueError: a file is wrong.
        """
        return Tls(
            self.kafka_tls_ca,
            self.kafka_tls_certificate,
            self.kafka_tls_key,
            self.kafka_key_password,
            self.kafka_tls_verify,
        ).context()

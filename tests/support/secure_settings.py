"""The settings for each way to connect to `SecureKafka`, as options of `Settings.load`."""

from typing import Any

from tests.support.certificates import KEY_PASSWORD
from tests.support.secure_kafka import PASSWORD, USER, SecureKafka
from tests.support.token_server import CLIENT, CLIENT_SECRET, TokenServer

WAYS = ("TLS", "mutual TLS", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")


def way(kafka: SecureKafka, tokens: TokenServer, name: str) -> dict[str, Any]:
    """The options of one of `WAYS`."""
    certificates = kafka.certificates
    tls = {"kafka_tls": True, "kafka_tls_ca": str(certificates.ca)}
    match name:
        case "TLS":
            return tls | {"kafka": kafka.address("TLS")}
        case "mutual TLS":
            return tls | {
                "kafka": kafka.address("MUTUAL"),
                "kafka_tls_certificate": str(certificates.certificate),
                "kafka_tls_key": str(certificates.locked_key),
                "kafka_tls_key_password": KEY_PASSWORD,
            }
        case "OAUTHBEARER":
            return tls | {
                "kafka": kafka.address("TOKEN"),
                "kafka_sasl_mechanism": name,
                "kafka_oauth_token_url": tokens.url,
                "kafka_oauth_client_id": CLIENT,
                "kafka_oauth_client_secret": CLIENT_SECRET,
            }
        case mechanism:
            return tls | {
                "kafka": kafka.address("LOGIN"),
                "kafka_sasl_mechanism": mechanism,
                "kafka_sasl_username": USER,
                "kafka_sasl_password": PASSWORD,
            }

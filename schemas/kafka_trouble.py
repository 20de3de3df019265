"""Explains why Kafka is unreachable or refuses a client: the cause and the cure.

librdkafka often reports only a lost connection. Then this module opens its own connection, TLS
included: Python's OpenSSL says which certificate is refused and why. It sends no secret.
"""

import socket
import ssl
from collections.abc import Iterator
from typing import Final

from confluent_kafka import KafkaError

from usagepipe.schemas.errors import AccessError, ServerUnavailableError, UsagePipeError
from usagepipe.schemas.settings.kafka import OAUTH, KafkaSettings

PROBE_SECONDS: Final = 2.0  # for each step of a connection to one server
READ: Final = "Read and Describe"
WRITE: Final = "Write and Describe"
MANAGE: Final = "Create, Describe and DescribeConfigs"
AWAY: Final = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._RESOLVE,
    }
)
LOGIN: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
RIGHTS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)

# Of Kafka's protocol: the question for what a broker can do, which every listener answers first.
_API_VERSIONS: Final = bytes.fromhex("0000000a001200000000000affff")
_CURES: Final = {  # by OpenSSL's number of a certificate's fault
    10: "renew it on the broker",
    18: "set USAGEPIPE_KAFKA_TLS_CA to the file of the CA that signed it",
    19: "set USAGEPIPE_KAFKA_TLS_CA to the file of the CA that signed it",
    20: "set USAGEPIPE_KAFKA_TLS_CA to the file of the CA that signed it",
    62: "write the name in the certificate into USAGEPIPE_KAFKA, or let it be issued for this one",
    64: "write the name in the certificate into USAGEPIPE_KAFKA, or let it be issued for this one",
}


class Complaints:
    """Give it to a client of librdkafka as `error_cb`: requests only fail with "timed out".

    It keeps the last failed login or TLS handshake. The client calls it when it is polled.
    """

    def __init__(self) -> None:
        self.refusal: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if error.code() in LOGIN or error.code() == KafkaError._SSL:
            self.refusal = error


def kafka_error(
    kafka: KafkaSettings, error: KafkaError, complaints: Complaints | None = None, need: str = READ
) -> UsagePipeError:
    """Our error for an `error` of librdkafka. Blocks for a few seconds at most."""
    if error.code() in AWAY and complaints is not None and complaints.refusal is not None:
        error = complaints.refusal
    if (cause := refusal(kafka, error, need)) is not None:
        return AccessError(f"Kafka at {kafka.kafka} refuses: {cause}.")
    if error.code() in AWAY or error.code() == KafkaError._SSL:
        return ServerUnavailableError("Kafka", kafka.kafka, probe(kafka) or error.str())
    return UsagePipeError(f"Kafka at {kafka.kafka} refused: {error.str()} ({error.name()})")


def refusal(kafka: KafkaSettings, error: KafkaError, need: str) -> str | None:
    """Why Kafka does not let this user in or do what it must, and the cure; None: it does."""
    code = error.code()
    if code in LOGIN:
        return login_refusal(kafka, error.str())
    return right_refusal(kafka, code, need)


def right_refusal(kafka: KafkaSettings, code: int, need: str) -> str | None:
    """The right that is missing, by Kafka's error code; None for another error."""
    topic = getattr(kafka, "topic", "the topic")
    group = getattr(kafka, "group", "the group")
    match code:
        case KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return f"{_user(kafka)} lacks a right on a topic: allow {need} on {topic}"
        case KafkaError.GROUP_AUTHORIZATION_FAILED:
            return f"{_user(kafka)} lacks a right on a group: allow {READ} on {group}"
        case KafkaError.CLUSTER_AUTHORIZATION_FAILED:
            return f"{_user(kafka)} lacks a right on the cluster: allow {need} on {topic}"
    return None


def login_refusal(kafka: KafkaSettings, text: str) -> str:
    """Why a login failed, by the client's `text`."""
    mechanism = kafka.kafka_sasl_mechanism
    lower = text.lower()
    if "mechanism" in lower and ("unsupported" in lower or "not support" in lower):
        return (
            f"it does not offer SASL {mechanism}: set USAGEPIPE_KAFKA_SASL_MECHANISM to one that "
            "it offers"
        )
    if mechanism == OAUTH:
        return (
            text[text.index("The token endpoint") :].rstrip(".")
            if "The token endpoint" in text
            else "it does not accept the token of USAGEPIPE_KAFKA_OAUTH_CLIENT_ID: check that "
            "client's rights, and USAGEPIPE_KAFKA_OAUTH_SCOPE"
        )
    return (
        f"it does not accept the user {kafka.kafka_sasl_username!r} or the password: check "
        "USAGEPIPE_KAFKA_SASL_USERNAME and USAGEPIPE_KAFKA_SASL_PASSWORD"
    )


def probe(kafka: KafkaSettings) -> str | None:
    """Why no server can be reached; None: one can, TLS included. Tries them in order."""
    causes: list[str] = []
    for host, port in _servers(kafka):
        try:
            _connect(kafka, host, port)
        except (OSError, ValueError) as error:
            causes.append(_cause(error, host, port))
        else:
            return None
    return causes[0] if causes else None


def _servers(kafka: KafkaSettings) -> Iterator[tuple[str, int]]:
    for server in kafka.kafka.split(","):
        host, _, port = server.strip().rpartition(":")
        yield host.strip("[]"), int(port)


def _connect(kafka: KafkaSettings, host: str, port: int) -> None:
    """Connect and ask what the broker can do.

    Raises:
        OSError, ValueError: why this is not possible.
    """
    with socket.create_connection((host, port), PROBE_SECONDS) as plain:
        stream: socket.socket = plain
        if kafka.kafka_tls:
            stream = kafka.kafka_tls_context().wrap_socket(plain, server_hostname=host)
        with stream:
            stream.sendall(_API_VERSIONS)
            answer = stream.recv(4)  # with TLS 1.3 a refused client certificate is known only here
    if not kafka.kafka_tls and answer[:1] != b"\0":
        cure = "set USAGEPIPE_KAFKA_TLS=on, or it is not Kafka"
        raise ValueError(f"{host}:{port} does not talk in plain text: {cure}")
    if not answer:
        raise ValueError(f"{host}:{port} hangs up without an answer")


def _cause(error: Exception, host: str, port: int) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            cure = _CURES.get(error.verify_code, "see to it on the broker")
            reason = error.verify_message.rstrip(".")
            return f"the certificate of {host}:{port} is refused: {reason}; {cure}"
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            reason = (error.reason or "").rpartition("ALERT_")[2].replace("_", " ").lower()
            return (
                f"{host}:{port} refuses the client certificate ({reason}): check "
                "USAGEPIPE_KAFKA_TLS_CERTIFICATE"
            )
        case ssl.SSLEOFError() | ConnectionResetError():
            return (
                f"{host}:{port} hangs up: does it talk in plain text (USAGEPIPE_KAFKA_TLS=off), "
                "or want a client certificate?"
            )
        case ssl.SSLError():
            return f"{host}:{port} does not speak TLS: set USAGEPIPE_KAFKA_TLS=off"
        case socket.gaierror():
            return f"the host name {host!r} is not known: check USAGEPIPE_KAFKA"
        case TimeoutError():
            return f"{host}:{port} gives no answer within {PROBE_SECONDS:g} s"
        case OSError():
            return f"{host}:{port}: {(error.strerror or type(error).__name__).lower()}"
    return str(error)


def _user(kafka: KafkaSettings) -> str:
    name = kafka.kafka_sasl_username or kafka.kafka_oauth_client_id
    if name:
        return f"the user {name!r}"
    return "the client certificate's user" if kafka.kafka_tls_certificate else "this user"

"""An error of librdkafka is explained by its cause and cure."""

import socket
from collections.abc import Iterator
from threading import Thread

import pytest
from confluent_kafka import KafkaError

from usagepipe.schemas.errors import AccessError, ServerUnavailableError, UsagePipeError
from usagepipe.schemas.kafka_trouble import WRITE, Complaints, kafka_error, probe
from usagepipe.schemas.settings import Settings

LOGIN: dict[str, object] = {
    "kafka_tls": True,
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_sasl_username": "ann",
    "kafka_sasl_password": "hunter2",
    "kafka_tls_verify": False,
}
OAUTH: dict[str, object] = {
    "kafka_tls": True,
    "kafka_sasl_mechanism": "OAUTHBEARER",
    "kafka_oauth_token_url": "https://id.example/token",
    "kafka_oauth_client_id": "usage",
    "kafka_oauth_client_secret": "hunter2",
}


@pytest.mark.parametrize(
    ("given", "code", "text", "words"),
    [
        (
            LOGIN,
            KafkaError._AUTHENTICATION,
            "SASL authentication error: Authentication failed (after 3ms)",
            "it does not accept the user 'ann' or the password",
        ),
        (
            LOGIN,
            KafkaError._AUTHENTICATION,
            "Broker: Unsupported SASL mechanism: broker's supported mechanisms: OAUTHBEARER",
            "it does not offer SASL SCRAM-SHA-512",
        ),
        (
            OAUTH,
            KafkaError._AUTHENTICATION,
            "Failed to acquire token: The token endpoint of X gives no token: it answers HTTP 503",
            "The token endpoint of X gives no token: it answers HTTP 503",
        ),
        (
            OAUTH,
            KafkaError.SASL_AUTHENTICATION_FAILED,
            "invalid_token",
            "it does not accept the token of USAGEPIPE_KAFKA_OAUTH_CLIENT_ID",
        ),
        (
            LOGIN,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            "",
            "the user 'ann' lacks a right on a topic: allow Write and Describe on usage.events.v1",
        ),
        (LOGIN, KafkaError.GROUP_AUTHORIZATION_FAILED, "", "lacks a right on a group"),
        ({}, KafkaError.CLUSTER_AUTHORIZATION_FAILED, "", "this user lacks a right on the cluster"),
    ],
)
def test_a_refusal_names_cause_and_cure(
    given: dict[str, object], code: int, text: str, words: str
) -> None:
    """It ends a command with status 3, like an unreachable server."""
    meant = kafka_error(Settings.load(**given), KafkaError(code, text), None, WRITE)

    assert isinstance(meant, AccessError)
    assert 3 == meant.exit_status
    assert words in str(meant)
    assert "hunter2" not in str(meant)


def test_a_timeout_is_explained_by_the_login_before_it() -> None:
    """The client reports a refused login by its callback, and requests only time out."""
    complaints = Complaints()
    complaints(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    complaints(KafkaError(KafkaError._AUTHENTICATION, "Authentication failed"))

    meant = kafka_error(Settings.load(**LOGIN), KafkaError(KafkaError._TIMED_OUT), complaints)

    assert "or the password" in str(meant)


def test_another_error_is_passed_on() -> None:
    """With the broker's own words."""
    meant = kafka_error(Settings.load(), KafkaError(KafkaError.INVALID_REPLICATION_FACTOR, "3 > 1"))

    assert type(meant) is UsagePipeError
    assert "3 > 1" in str(meant)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """An address, and what is answered there to each connection."""
    answers: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=_serve, args=(server, answers), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", answers
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(server: socket.socket, answers: list[bytes]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.recv(4_096)
            connection.sendall(answers[0])


@pytest.mark.parametrize(
    ("answer", "tls", "words"),
    [
        (b"\x00\x00\x00\x0a", False, None),
        (b"\x15\x03\x03\x00\x02", False, "does not talk in plain text: set USAGEPIPE_KAFKA_TLS=on"),
        (b"HTTP/1.1 400 Bad Request\r\n", False, "or it is not Kafka"),
        (b"", False, "does not talk in plain text: set USAGEPIPE_KAFKA_TLS=on"),
        (b"HTTP/1.1 400 Bad Request\r\n", True, "does not speak TLS: set USAGEPIPE_KAFKA_TLS=off"),
    ],
)
def test_a_probe_finds_the_wrong_protocol(
    listener: tuple[str, list[bytes]], answer: bytes, tls: bool, words: str | None
) -> None:
    """TLS to a server without TLS, and the other way round."""
    address, answers = listener
    answers.append(answer)

    found = probe(Settings.load(kafka=address, kafka_tls=tls))

    assert (words is None and found is None) or (found is not None and str(words) in found)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "127.0.0.1:1: connection refused"),
        ("nowhere.invalid:9092", "the host name 'nowhere.invalid' is not known"),
    ],
)
def test_a_probe_finds_a_wrong_address(address: str, words: str) -> None:
    """The cause names the address and its mistake."""
    kafka = Settings.load(kafka=address)

    assert words == str(probe(kafka))[: len(words)]
    meant = kafka_error(kafka, KafkaError(KafkaError._TRANSPORT, "failed"))
    assert isinstance(meant, ServerUnavailableError)
    assert words in str(meant)

"""The settings of a secured Kafka: what is refused, and the properties for librdkafka."""

from pathlib import Path
from typing import Any

import pytest

from usagepipe.schemas import kafka_clients
from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.kafka_clients import librdkafka_config
from usagepipe.schemas.oauth_tokens import Token
from usagepipe.schemas.settings import PREFIX, Settings, plain
from usagepipe.schemas.settings.kafka import KafkaSettings

SECRET = "hunter2"
PLAIN: dict[str, object] = {
    "kafka_tls": True,
    "kafka_sasl_mechanism": "PLAIN",
    "kafka_sasl_username": "ann",
    "kafka_sasl_password": SECRET,
}
OAUTH: dict[str, object] = {
    "kafka_tls": True,
    "kafka_sasl_mechanism": "OAUTHBEARER",
    "kafka_oauth_token_url": "https://id.example/token",
    "kafka_oauth_client_id": "usage",
    "kafka_oauth_client_secret": SECRET,
}
UNVERIFIED = {
    "enable.ssl.certificate.verification": False,
    "ssl.endpoint.identification.algorithm": "none",
}
VERIFIED = {
    "enable.ssl.certificate.verification": True,
    "ssl.endpoint.identification.algorithm": "https",
}
LOGIN = {"sasl.username": "ann", "sasl.password": SECRET}


def problems(**options: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**options)
    assert SECRET not in str(caught.value)
    return [problem.removeprefix(f"{PREFIX}KAFKA_") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"tls": True}, {"security.protocol": "SSL", **VERIFIED}),
        ({"tls": True, "tls_verify": False}, {"security.protocol": "SSL", **UNVERIFIED}),
        (
            {"tls": True, "tls_ca": "ca.pem", "tls_certificate": "c.pem", "tls_key": "k.pem"},
            {
                "security.protocol": "SSL",
                **VERIFIED,
                "ssl.ca.location": "ca.pem",
                "ssl.certificate.location": "c.pem",
                "ssl.key.location": "k.pem",
            },
        ),
        (
            {"tls": True, "tls_certificate": "both.pem", "tls_key_password": SECRET},
            {
                "security.protocol": "SSL",
                **VERIFIED,
                "ssl.certificate.location": "both.pem",
                "ssl.key.location": "both.pem",
                "ssl.key.password": SECRET,
            },
        ),
        (
            {"tls": True, "sasl_mechanism": "plain"},
            {"security.protocol": "SASL_SSL", **VERIFIED, "sasl.mechanism": "PLAIN", **LOGIN},
        ),
        (
            {"tls": True, "sasl_mechanism": "SCRAM-SHA-256"},
            {
                "security.protocol": "SASL_SSL",
                **VERIFIED,
                "sasl.mechanism": "SCRAM-SHA-256",
                **LOGIN,
            },
        ),
        (
            {"allow_plaintext": True, "sasl_mechanism": "SCRAM-SHA-512"},
            {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512", **LOGIN},
        ),
    ],
)
def test_librdkafka_is_given_what_is_set(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """Every property comes from a setting, and a missing setting sets no property."""
    login = {"sasl_username": "ann", "sasl_password": SECRET} if "sasl_mechanism" in given else {}
    kafka = Settings(**{f"kafka_{name}": value for name, value in (given | login).items()})

    assert {"bootstrap.servers": "127.0.0.1:9092"} | expected == librdkafka_config(kafka)


def test_librdkafka_is_given_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """With OAUTHBEARER a callback returns the provider's token with extensions."""

    class Tokens:
        def token(self) -> Token:
            return Token("abc", 1_900_000_000.0, 0.0)

    monkeypatch.setattr(kafka_clients, "oauth_tokens", lambda kafka: Tokens())
    kafka = Settings.load(**OAUTH, kafka_oauth_extensions="logicalCluster=lkc-1,pool=p")

    config = librdkafka_config(kafka)

    assert ("SASL_SSL", "OAUTHBEARER") == (config["security.protocol"], config["sasl.mechanism"])
    extensions = {"logicalCluster": "lkc-1", "pool": "p"}
    assert ("abc", 1_900_000_000.0, "", extensions) == config["oauth_cb"](None)


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    """The file is read for each new client, so a new password needs no new settings."""
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    kafka = Settings.load(
        **PLAIN | {"kafka_sasl_password": None, "kafka_sasl_password_file": str(file)}
    )

    before = librdkafka_config(kafka)["sasl.password"]
    file.write_text("changed\r\n")

    assert (SECRET, "changed") == (before, librdkafka_config(kafka)["sasl.password"])


@pytest.mark.parametrize(
    ("given", "starts"),
    [
        ({"tls_ca": "/nowhere/ca.pem"}, ["TLS_CA is set and USAGEPIPE_KAFKA_TLS is off", "TLS_CA"]),
        ({"tls": True, "tls_ca": "/nowhere/ca.pem"}, ["TLS_CA names '/nowhere/ca.pem', which can"]),
        ({"tls": True, "tls_ca": __file__}, ["TLS: the CA file"]),
        ({"tls": True, "tls_certificate": __file__}, ["TLS: the certificate"]),
        ({"tls": True, "tls_key_password": SECRET}, ["TLS_KEY_PASSWORD is set and"]),
        ({"sasl_mechanism": "DIGEST-MD5"}, ["SASL_MECHANISM is 'DIGEST-MD5': write PLAIN, SC"]),
        (
            {"sasl_mechanism": "PLAIN"},
            [
                "SASL_MECHANISM is PLAIN without TLS",
                "SASL_USERNAME is not set",
                "SASL_PASSWORD is not set",
            ],
        ),
        ({"sasl_username": "ann"}, ["SASL_USERNAME is set and USAGEPIPE_KAFKA_SASL_MECHANISM is"]),
        ({"sasl_password": SECRET}, ["SASL_PASSWORD is set and USAGEPIPE_KAFKA_SASL_MECHANISM is"]),
        (
            {"tls": True, "sasl_mechanism": "OAUTHBEARER"},
            [
                "OAUTH_TOKEN_URL is not set",
                "OAUTH_CLIENT_ID is not set",
                "OAUTH_CLIENT_SECRET is not set",
            ],
        ),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, object], starts: list[str]) -> None:
    """Each mistake is one sentence that begins with the variable to change."""
    found = problems(**{f"kafka_{name}": value for name, value in given.items()})

    assert len(starts) == len(found)
    for start, problem in zip(starts, found, strict=True):
        assert problem.startswith(start)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://id.example/token", True),
        ("http://127.0.0.1:8080/token", True),
        ("http://id.example/token", False),
        (f"https://usage:{SECRET}@id.example/token", False),
        ("id.example/token", False),
    ],
)
def test_a_client_secret_is_sent_encrypted(url: str, allowed: bool) -> None:
    """A token endpoint has https; http is allowed on this machine, or if a setting allows it."""
    given = OAUTH | {"kafka_oauth_token_url": url}
    found = [] if allowed else problems(**given)

    assert allowed or found[0].startswith("OAUTH_TOKEN_URL is ")
    assert allowed == bool(not found and Settings.load(**given))


def test_mistakes_of_all_kinds_come_together() -> None:
    """A wrong field does not hide mistakes of other settings."""
    found = problems(
        kafka_tls=True,
        kafka_tls_ca="/nowhere/ca.pem",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_password=SECRET,
        kafka_sasl_password_file="/nowhere/password",
        batch_rows=0,
    )

    assert [
        f"{PREFIX}BATCH_ROWS is",
        "SASL_USERNAME is",
        "TLS_CA names",
        "SASL_PASSWORD and",
        "SASL_PASSWORD_FILE names",
    ] == [" ".join(problem.split()[:2]) for problem in found]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"a\0b", b"x" * 100_000])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    """The error shows nothing of the file."""
    file = tmp_path / "password"
    file.write_bytes(content)

    (found,) = problems(
        **PLAIN | {"kafka_sasl_password": None, "kafka_sasl_password_file": str(file)}
    )

    assert found.startswith(f"SASL_PASSWORD_FILE names '{file}', which ")
    assert len(found) < 300


def test_no_text_of_the_settings_has_a_secret() -> None:
    """A log line with the settings holds no secret."""
    for given in (PLAIN, OAUTH):
        settings = Settings.load(**given)

        assert SECRET not in f"{settings} {settings!r} {settings.model_dump()} {vars(settings)}"


def test_an_option_wins_over_the_environments_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`--clickhouse` is used although the environment names a file for the same address."""
    (tmp_path / "url").write_text("http://ann:secret@elsewhere:8123/usage")
    monkeypatch.setenv(f"{PREFIX}CLICKHOUSE_FILE", str(tmp_path / "url"))

    assert "elsewhere" == Settings.load().clickhouse_address.host
    assert "db" == Settings.load(clickhouse="http://db:8123").clickhouse_address.host


def test_a_local_kafka_is_plain_in_any_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A demo with its own servers works on a machine with settings for a secured Kafka."""
    for name, value in PLAIN.items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", str(value))

    settings = Settings.load(**plain(KafkaSettings) | {"kafka": "127.0.0.1:9092"})

    assert {"bootstrap.servers": "127.0.0.1:9092"} == librdkafka_config(settings)


@pytest.mark.parametrize(("entry", "key"), [("lkc 1", "lkc 1"), (f"auth={SECRET}", "auth")])
def test_a_wrong_extension_is_named_without_its_value(entry: str, key: str) -> None:
    """A value may be a token."""
    found = problems(**OAUTH, kafka_oauth_extensions=f"logicalCluster=lkc-1,{entry}")

    assert [f"OAUTH_EXTENSIONS has a wrong entry {key!r}: write key=value[,…]."] == found

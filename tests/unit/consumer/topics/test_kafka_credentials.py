"""How Faust and aiokafka log in: by the same block as librdkafka, and with TLS where it is on."""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.errors import AuthenticationFailedError
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from usagepipe.consumer.topics import kafka_credentials
from usagepipe.consumer.topics.kafka_credentials import aiokafka_options, faust_credentials
from usagepipe.schemas.errors import AccessError
from usagepipe.schemas.oauth_tokens import Token
from usagepipe.schemas.settings import Settings

LOGIN = {"sasl_username": "ann", "sasl_password": "hunter2"}
OAUTH = {
    "sasl_mechanism": "OAUTHBEARER",
    "oauth_token_url": "https://id.example/token",
    "oauth_client_id": "usage",
    "oauth_client_secret": "hunter2",
    "oauth_extensions": "pool=p",
}
USER = {"sasl_plain_username": "ann", "sasl_plain_password": "hunter2"}


def settings(**given: object) -> Settings:
    return Settings.load(**{f"kafka_{name}": value for name, value in given.items()})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"security_protocol": "PLAINTEXT"}),
        ({"tls": True}, {"security_protocol": "SSL"}),
        (
            {"tls": True, "sasl_mechanism": "PLAIN", **LOGIN},
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", **USER},
        ),
        (
            {"tls": True, "sasl_mechanism": "SCRAM-SHA-256", **LOGIN},
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-256", **USER},
        ),
        (
            {"allow_plaintext": True, "sasl_mechanism": "SCRAM-SHA-512", **LOGIN},
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512", **USER},
        ),
        (
            {"tls": True, **OAUTH},
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"},
        ),
    ],
)
def test_faust_and_aiokafka_log_in_alike(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """Faust's driver makes the same of its credentials as aiokafka's clients are given."""
    kafka = settings(**given)

    for made in (credentials_to_aiokafka_auth(faust_credentials(kafka)), aiokafka_options(kafka)):
        options = dict(made)
        context, provider = (
            options.pop(name, None) for name in ("ssl_context", "sasl_oauth_token_provider")
        )
        options.pop("bootstrap_servers", None)

        assert expected == options
        assert ("tls" in given) == isinstance(context, ssl.SSLContext)
        assert (given.get("sasl_mechanism") == "OAUTHBEARER") == (provider is not None)


@pytest.mark.parametrize("verify", [True, False])
def test_certificates_and_host_names_are_verified(verify: bool) -> None:
    """Unless somebody turns it off."""
    context = aiokafka_options(settings(tls=True, tls_verify=verify))["ssl_context"]

    assert verify == context.check_hostname
    assert (ssl.CERT_REQUIRED if verify else ssl.CERT_NONE) == context.verify_mode


class Tokens:
    def __init__(self, outcome: Token | AccessError) -> None:
        self._outcome = outcome

    def token(self) -> Token:
        if isinstance(self._outcome, AccessError):
            raise self._outcome
        return self._outcome


def test_aiokafka_is_given_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection asks the one provider; a failure is one that aiokafka tries again after."""
    outcomes: Iterator[Token | AccessError] = iter(
        (Token("abc", 0.0, 0.0), AccessError("no token: busy"))
    )
    monkeypatch.setattr(kafka_credentials, "oauth_tokens", lambda kafka: Tokens(next(outcomes)))
    good, bad = (
        aiokafka_options(settings(tls=True, **OAUTH))["sasl_oauth_token_provider"] for _ in "ab"
    )

    assert "abc" == asyncio.run(good.token())
    assert {"pool": "p"} == good.extensions()
    with pytest.raises(AuthenticationFailedError, match="no token: busy"):
        asyncio.run(bad.token())

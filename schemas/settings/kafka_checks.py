"""Checks that the Kafka settings fit together: one sentence for each mistake.

Each names the variable to change and the cure. None quotes a secret, or a file's content.
"""

import re
from collections.abc import Iterator
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from usagepipe.schemas.settings.checks import PREFIX
from usagepipe.schemas.settings.kafka import OAUTH, KafkaSettings
from usagepipe.schemas.settings.secret_files import check_file, problem, read_secret

_EXTENSION = re.compile(r"[A-Za-z]+=[\x21-\x2b\x2d-\x7e]+")  # RFC 7628, without our comma
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_WITH_TLS: Final = ("tls_ca", "tls_certificate", "tls_key", "tls_key_password")
_WITH_PASSWORD: Final = ("sasl_username", "sasl_password")
_WITH_OAUTH: Final = (
    *("oauth_token_url", "oauth_client_id", "oauth_client_secret"),
    *("oauth_scope", "oauth_extensions", "oauth_ca"),
)
_SECRETS: Final = ("tls_key_password", "sasl_password", "oauth_client_secret")
_FILES: Final = ("tls_ca", "tls_certificate", "tls_key", "oauth_ca")


def kafka_problems(kafka: KafkaSettings) -> Iterator[str]:
    """A sentence for every mistake in these settings."""
    yield from _unfit_tls(kafka)
    yield from _unfit_login(kafka)
    yield from _unfit_oauth(kafka)
    files = [*_unreadable(kafka), *_unfit_secrets(kafka)]
    yield from files
    if kafka.kafka_tls and not files:
        yield from problem(kafka.kafka_tls_context, f"{_variable('tls')}: ")


def _unfit_tls(kafka: KafkaSettings) -> Iterator[str]:
    if not kafka.kafka_tls:
        for name in _given(kafka, _WITH_TLS):
            yield f"{name} is set and {_variable('tls')} is off: set it to on."
        return
    if not kafka.kafka_tls_certificate:
        for name in _given(kafka, ("tls_key", "tls_key_password")):
            yield f"{name} is set and {_variable('tls_certificate')} is not: set both."


def _unfit_login(kafka: KafkaSettings) -> Iterator[str]:
    mechanism = kafka.kafka_sasl_mechanism
    if mechanism and not (kafka.kafka_tls or kafka.kafka_allow_plaintext):
        yield (
            f"{_variable('sasl_mechanism')} is {mechanism} without TLS: secrets would be sent in "
            f"plain text. Set {_variable('tls')}=on, or {_variable('allow_plaintext')}=on to allow "
            "it."
        )
    if mechanism and mechanism != OAUTH:
        yield from _missing(kafka, _WITH_PASSWORD)
    else:
        others = "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
        yield from _unused(kafka, _WITH_PASSWORD, others)


def _unfit_oauth(kafka: KafkaSettings) -> Iterator[str]:
    if kafka.kafka_sasl_mechanism != OAUTH:
        yield from _unused(kafka, _WITH_OAUTH, OAUTH)
        return
    yield from _missing(kafka, _WITH_OAUTH[:3])
    if url := kafka.kafka_oauth_token_url:
        yield from _unfit_url(url, plaintext=kafka.kafka_allow_plaintext)
    pairs = [pair.strip() for pair in kafka.kafka_oauth_extensions.split(",") if pair.strip()]
    for pair in pairs:
        if not _EXTENSION.fullmatch(pair) or pair.startswith("auth="):
            key = pair.partition("=")[0]  # the value may be a token
            yield f"{_variable('oauth_extensions')} has a wrong entry {key!r}: write key=value[,…]."


def _unfit_url(url: str, *, plaintext: bool) -> Iterator[str]:
    name = _variable("oauth_token_url")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or parts.username or parts.password:
        yield f"{name} is not a token endpoint's URL: write https://host/path, without a password."
    elif parts.scheme == "http" and host not in _LOOPBACK and not plaintext:
        yield (
            f"{name} is http: the client secret would be sent in plain text. Write https, or set "
            f"{_variable('allow_plaintext')}=on to allow it."
        )


def _unreadable(kafka: KafkaSettings) -> Iterator[str]:
    for name in _FILES:
        if path := getattr(kafka, f"kafka_{name}"):
            yield from problem(partial(check_file, path), _variable(name) + " ")


def _unfit_secrets(kafka: KafkaSettings) -> Iterator[str]:
    for name in _SECRETS:
        path = getattr(kafka, f"kafka_{name}_file")
        if path and _value(kafka, name):
            yield f"{_variable(name)} and {_variable(name)}_FILE are both set: set one of them."
        if path:
            yield from problem(partial(read_secret, path), f"{_variable(name)}_FILE ")


def _missing(kafka: KafkaSettings, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if not (_value(kafka, name) or getattr(kafka, f"kafka_{name}_file", "")):
            or_file = f" or {_variable(name)}_FILE" if name in _SECRETS else ""
            yield (
                f"{_variable(name)} is not set, and {_variable('sasl_mechanism')} "
                f"{kafka.kafka_sasl_mechanism} needs it: set {_variable(name)}{or_file}."
            )


def _unused(kafka: KafkaSettings, names: tuple[str, ...], mechanism: str) -> Iterator[str]:
    now = kafka.kafka_sasl_mechanism or "not set"
    for name in _given(kafka, names):
        yield (
            f"{name} is set and {_variable('sasl_mechanism')} is {now}: "
            f"set {mechanism} there, or unset {name}."
        )


def _given(kafka: KafkaSettings, names: tuple[str, ...]) -> Iterator[str]:
    """The variables of `names`, and of their files, that are set."""
    for name in names:
        if _value(kafka, name):
            yield _variable(name)
        if getattr(kafka, f"kafka_{name}_file", ""):
            yield f"{_variable(name)}_FILE"


def _value(kafka: KafkaSettings, name: str) -> object:
    return getattr(kafka, f"kafka_{name}")


def _variable(name: str) -> str:
    return f"{PREFIX}KAFKA_{name.upper()}"

"""Checks that the Kafka settings fit together: one sentence for each mistake.

Each names the variable to change and the cure. None quotes a secret, or a file's content.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from usagepipe.schemas.settings.checks import split_list
from usagepipe.schemas.settings.kafka import OAUTH, KafkaSettings
from usagepipe.schemas.settings.server_checks import (
    problem,
    unfit_files,
    unfit_secrets,
    unfit_tls,
    variable,
    variables_set,
)

_EXTENSION = re.compile(r"[A-Za-z]+=[\x21-\x2b\x2d-\x7e]+")  # RFC 7628, without our comma
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_WITH_PASSWORD: Final = ("kafka_sasl_username", "kafka_sasl_password")
_NEEDED_OAUTH = ("kafka_oauth_token_url", "kafka_oauth_client_id", "kafka_oauth_client_secret")
_OPTIONAL_OAUTH: Final = ("kafka_oauth_scope", "kafka_oauth_extensions", "kafka_oauth_ca")
_SECRETS: Final = ("kafka_tls_key_password", "kafka_sasl_password", "kafka_oauth_client_secret")
_FILES: Final = ("kafka_tls_ca", "kafka_tls_certificate", "kafka_tls_key", "kafka_oauth_ca")


def kafka_problems(kafka: KafkaSettings) -> Iterator[str]:
    """A sentence for every mistake in these settings."""
    off = "" if kafka.kafka_tls else "USAGEPIPE_KAFKA_TLS is off: set it to on."
    yield from unfit_tls(kafka, "kafka", off)
    yield from _unfit_login(kafka)
    if kafka.kafka_sasl_mechanism == OAUTH:
        if url := kafka.kafka_oauth_token_url:
            yield from _unfit_url(url, plaintext=kafka.kafka_allow_plaintext)
        yield from _unfit_extensions(kafka.kafka_oauth_extensions)
    files = [*unfit_files(kafka, *_FILES), *unfit_secrets(kafka, *_SECRETS)]
    yield from files
    if kafka.kafka_tls and not files:
        yield from problem(kafka.kafka_tls_context, "USAGEPIPE_KAFKA_TLS: ")


def _unfit_login(kafka: KafkaSettings) -> Iterator[str]:
    mechanism = kafka.kafka_sasl_mechanism
    if mechanism and not (kafka.kafka_tls or kafka.kafka_allow_plaintext):
        yield (
            f"USAGEPIPE_KAFKA_SASL_MECHANISM is {mechanism} without TLS: secrets would be sent in "
            "plain text. Set USAGEPIPE_KAFKA_TLS=on, or USAGEPIPE_KAFKA_ALLOW_PLAINTEXT=on to "
            "allow it."
        )
    if mechanism and mechanism != OAUTH:
        yield from _missing(kafka, _WITH_PASSWORD)
    else:
        yield from _unused(kafka, _WITH_PASSWORD, "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    if mechanism == OAUTH:
        yield from _missing(kafka, _NEEDED_OAUTH)
    else:
        yield from _unused(kafka, (*_NEEDED_OAUTH, *_OPTIONAL_OAUTH), OAUTH)


def _missing(kafka: KafkaSettings, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if not any(variables_set(kafka, name)):
            or_file = f" or {variable(name)}_FILE" if name in _SECRETS else ""
            yield (
                f"{variable(name)} is not set, and USAGEPIPE_KAFKA_SASL_MECHANISM "
                f"{kafka.kafka_sasl_mechanism} needs it: set {variable(name)}{or_file}."
            )


def _unused(kafka: KafkaSettings, names: tuple[str, ...], mechanism: str) -> Iterator[str]:
    now = kafka.kafka_sasl_mechanism or "not set"
    for name in variables_set(kafka, *names):
        yield (
            f"{name} is set and USAGEPIPE_KAFKA_SASL_MECHANISM is {now}: "
            f"set {mechanism} there, or unset {name}."
        )


def _unfit_url(url: str, *, plaintext: bool) -> Iterator[str]:
    name = "USAGEPIPE_KAFKA_OAUTH_TOKEN_URL"
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
            "USAGEPIPE_KAFKA_ALLOW_PLAINTEXT=on to allow it."
        )


def _unfit_extensions(extensions: str) -> Iterator[str]:
    for pair in split_list(extensions):
        if not _EXTENSION.fullmatch(pair) or pair.startswith("auth="):
            key = pair.partition("=")[0]  # the value may be a token
            yield (
                f"USAGEPIPE_KAFKA_OAUTH_EXTENSIONS has a wrong entry {key!r}: write key=value[,…]."
            )

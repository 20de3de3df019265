"""Reads secrets and files that settings name. An error names the file, never its content."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import SecretStr

MAX_SECRET_BYTES = 65_536


def read_secret(path: str) -> str:
    """The text of a file, without the newline that mounted secrets end with.

    Raises:
        ValueError: it cannot be read, is empty or is no text. The message is the end of
            a sentence: "USAGEPIPE_… names '/run/password', which is empty".
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"names {path!r}, which cannot be read: {_reason(error)}") from None
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"names {path!r}, which is not valid UTF-8") from None
    if not text:
        raise ValueError(f"names {path!r}, which is empty")
    if len(content) > MAX_SECRET_BYTES or "\0" in text:
        raise ValueError(f"names {path!r}, which is too long or binary for a secret")
    return text


def secret(value: SecretStr, path: str) -> str:
    """The secret that is set, or the current content of its file; "" for none.

    Raises:
        ValueError: the file cannot be read.
    """
    return read_secret(path) if path else value.get_secret_value()


def revealed(value: object) -> str:
    """The text of a setting's value, also of a secret."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def check_file(path: str) -> None:
    """Check that `path` is a readable file.

    Raises:
        ValueError: it is not. The message is the end of a sentence.
    """
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        raise ValueError(f"names {path!r}, which cannot be read: {_reason(error)}") from None


def problem(check: Callable[[], object], prefix: str) -> Iterator[str]:
    """Yield the message of a `check` that raises ValueError."""
    try:
        check()
    except ValueError as error:
        yield f"{prefix}{error}."


def tls_context(
    ca: str, certificate: str, key: str, key_password: str, *, verify: bool
) -> ssl.SSLContext:
    """A client's TLS context. "" for `ca`: the CAs that the system trusts.

    Raises:
        ValueError: a file is wrong. The message is the end of a sentence, and quotes no file.
    """
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (ssl.SSLError, OSError):
        raise ValueError(f"the CA file {ca!r} holds no certificate in PEM") from None
    # Since Python 3.13 this is on, and OpenSSL in other clients has it off: all clients of one
    # server must accept the same certificates.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        try:
            # With None for a password, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(certificate, key or None, password=key_password)
        except (ssl.SSLError, OSError, ValueError):
            raise ValueError(
                f"the certificate {certificate!r} and the key {key or certificate!r} do not load: "
                "they are not PEM, do not fit together, or the key's password is wrong or missing"
            ) from None
    return context


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)

"""Settings that are secrets or name files. An error names the file, never what stands in it."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import SecretStr

MAX_SECRET_BYTES = 65_536


def read_secret(path: str) -> str:
    """The text of a file without the newline at its end, as mounted secrets have one.

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
    """The secret that is set, or the one in its file as it is now; "" for none.

    Raises:
        ValueError: the file cannot be read any more.
    """
    return read_secret(path) if path else value.get_secret_value()


def revealed(value: object) -> str:
    """The text of a setting's value, a secret's too."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def check_file(path: str) -> None:
    """Return if `path` is a file that can be read.

    Raises:
        ValueError: it is not. The message is the end of a sentence.
    """
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        raise ValueError(f"names {path!r}, which cannot be read: {_reason(error)}") from None


def problem(check: Callable[[], object], prefix: str) -> Iterator[str]:
    """The sentence of a `check` that raises ValueError; nothing of one that does not."""
    try:
        check()
    except ValueError as error:
        yield f"{prefix}{error}."


def tls_context(
    ca: str, certificate: str, key: str, key_password: str, *, verify: bool
) -> ssl.SSLContext:
    """How a client talks TLS. "" for `ca` means the certificates that the system trusts.

    Raises:
        ValueError: a file is not what it should be. The message is a sentence's end, without
            anything of the file.
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

"""Reads secrets and TLS files that settings name. An error names the file, never its content."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

MAX_SECRET_BYTES = 65_536


def read_secret(path: str) -> str:
    """The text of a file, without the newline that mounted secrets end with.

    Raises:
        ValueError: it cannot be read, is empty or is not text. The message is the end of
            a sentence: "USAGEPIPE_… names '/run/password', which is empty".
    """
    content = _read(path, MAX_SECRET_BYTES + 1)
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
    _read(path, 1)


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS files of a client, and whether it verifies the server."""

    ca: str = ""  # "": the CAs that the system trusts
    certificate: str = ""
    key: str = ""
    key_password: str = field(default="", repr=False)
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """The TLS context for Python's clients.

        Raises:
            ValueError: a file is wrong. The message is the end of a sentence, and quotes no file.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except (ssl.SSLError, OSError):
            raise ValueError(f"the CA file {self.ca!r} holds no certificate in PEM") from None
        # Since Python 3.13 this is on, and OpenSSL in other clients has it off: all clients of one
        # server must accept the same certificates.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            self._load_certificate(context)
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        try:
            # With None for a password, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(self.certificate, self.key or None, password=self.key_password)
        except (ssl.SSLError, OSError, ValueError):
            raise ValueError(
                f"the certificate {self.certificate!r} and the key {self.key or self.certificate!r}"
                " do not load: they are not PEM, do not fit together, or the key's password is"
                " wrong or missing"
            ) from None


def _read(path: str, most: int) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(most)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ValueError(f"names {path!r}, which cannot be read: {reason or error}") from None

"""How every client of usagepipe reaches ClickHouse: the address, and TLS."""

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from usagepipe.schemas.secret_files import check_file, problem, read_secret, secret, tls_context

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_DEFAULT_URL: Final = "http://default:@127.0.0.1:8123/default"
# How a URL holds these characters of a password.
_ENCODED: Final = "(in a password write %2F for /, %40 for @, %3A for :, %3F for ?, %23 for #)"
_NO_SECRET = SecretStr("")
_TLS: Final = ("ca", "certificate", "key", "key_password", "key_password_file")
_FILES: Final = ("ca", "certificate", "key")


@dataclass(frozen=True, slots=True)
class ClickHouseTls:
    """How a client of ClickHouse talks TLS."""

    ca: str = ""  # "" is what the system trusts
    certificate: str = ""
    key: str = ""
    key_password: str = field(default="", repr=False)
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """For Python's clients.

        Raises:
            ValueError: a file is not what it should be.
        """
        return tls_context(
            self.ca, self.certificate, self.key, self.key_password, verify=self.verify
        )


@dataclass(frozen=True, slots=True)
class ClickHouseAddress:
    """Where a ClickHouse server answers over HTTP. `str()` of it never shows the password."""

    host: str
    port: int
    user: str
    password: str
    database: str
    secure: bool
    tls: ClickHouseTls = ClickHouseTls()

    @classmethod
    def parse(cls, url: str) -> Self:
        """The parts of `http://user:password@host:8123/database`.

        Raises:
            ValueError: it is another URL. The text never shows it: it may hold a password.
        """
        form = "write http://user:password@host:8123/database"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # its text may quote a part of the password
            raise ValueError(f"is not a URL {_ENCODED}: {form}") from None
        if parts.scheme not in {"http", "https"}:
            raise ValueError(f"does not begin with http:// or https://: {form}")
        if parts.query or parts.fragment:  # before the host: a ? in a password ends it early
            raise ValueError(f"has a ? or # {_ENCODED}; query parameters are not supported: {form}")
        if not parts.hostname:
            raise ValueError(f"has no host: {form}")
        database = unquote(parts.path.strip("/")) or "default"
        if not IDENTIFIER.fullmatch(database):
            raise ValueError(
                f"names a database with other characters than letters, digits and _: {form}"
            )
        secure = parts.scheme == "https"
        return cls(
            host=parts.hostname,
            port=port or (8443 if secure else 8123),
            user=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            database=database,
            secure=secure,
        )

    def __str__(self) -> str:
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{self.host}:{self.port}/{self.database}"

    def __repr__(self) -> str:
        return f"ClickHouseAddress({self})"


def _check_clickhouse(value: SecretStr) -> SecretStr:
    ClickHouseAddress.parse(value.get_secret_value())
    return value


class ClickHouseSettings(BaseSettings):
    """The ClickHouse of a process. Its texts never show a secret."""

    clickhouse: Annotated[SecretStr, AfterValidator(_check_clickhouse)] = Field(
        default=SecretStr(_DEFAULT_URL),
        description="ClickHouse over HTTP: http[s]://user:password@host:port/database.",
    )
    clickhouse_file: str = Field(default="", description="File that holds that URL.")
    clickhouse_password_file: str = Field(
        default="", description="File that holds the password, for a URL without one."
    )
    clickhouse_tls_verify: bool = Field(
        default=True,
        description="Whether to verify ClickHouse's certificate and host name, for https. off lets "
        "anybody read and change what is sent.",
    )
    clickhouse_tls_ca: str = Field(
        default="",
        description="PEM file of the CAs that sign ClickHouse's certificate; empty is those that "
        "the system trusts.",
    )
    clickhouse_tls_certificate: str = Field(
        default="",
        description="PEM file of a client certificate. Without a password in the URL it also logs "
        "the user in.",
    )
    clickhouse_tls_key: str = Field(
        default="",
        description="PEM file of its private key; empty: it is in the certificate's file.",
    )
    clickhouse_tls_key_password: SecretStr = Field(
        default=_NO_SECRET, description="Password of that private key."
    )
    clickhouse_tls_key_password_file: str = Field(
        default="", description="File that holds the password of that private key."
    )

    @property
    def clickhouse_address(self) -> ClickHouseAddress:
        """As it is now: a file may have changed.

        Raises:
            ValueError: a file is not what it should be.
        """
        url = secret(self.clickhouse, self.clickhouse_file)
        address = ClickHouseAddress.parse(url)
        if self.clickhouse_password_file:
            address = replace(address, password=read_secret(self.clickhouse_password_file))
        tls = ClickHouseTls(
            self.clickhouse_tls_ca,
            self.clickhouse_tls_certificate,
            self.clickhouse_tls_key,
            secret(self.clickhouse_tls_key_password, self.clickhouse_tls_key_password_file),
            self.clickhouse_tls_verify,
        )
        return replace(address, tls=tls)


def clickhouse_problems(settings: ClickHouseSettings) -> Iterator[str]:
    """A sentence for everything that keeps these settings from working."""
    name = "USAGEPIPE_CLICKHOUSE"
    url = settings.clickhouse.get_secret_value()
    if settings.clickhouse_file:
        if url != _DEFAULT_URL:
            yield f"{name} and {name}_FILE are both set: set one of them."
        yield from problem(
            lambda: ClickHouseAddress.parse(read_secret(settings.clickhouse_file)), f"{name}_FILE "
        )
    if settings.clickhouse_tls_key_password and settings.clickhouse_tls_key_password_file:
        yield f"{name}_TLS_KEY_PASSWORD and {name}_TLS_KEY_PASSWORD_FILE are both set: set one."
    for part in _FILES:
        if path := getattr(settings, f"clickhouse_tls_{part}"):
            yield from problem(partial(check_file, path), f"{name}_TLS_{part.upper()} ")
    for part in ("password_file", "tls_key_password_file"):
        if path := getattr(settings, f"clickhouse_{part}"):
            yield from problem(partial(read_secret, path), f"{name}_{part.upper()} ")
    yield from _unfit_address(settings)


def _unfit_address(settings: ClickHouseSettings) -> Iterator[str]:
    """Where the files themselves are in order."""
    name = "USAGEPIPE_CLICKHOUSE"
    try:
        address = settings.clickhouse_address
        url = secret(settings.clickhouse, settings.clickhouse_file)
    except ValueError:
        return  # reported by its variable
    if settings.clickhouse_password_file and ClickHouseAddress.parse(url).password:
        yield f"{name} has a password and {name}_PASSWORD_FILE is set: set one of them."
    given = [part for part in _TLS if getattr(settings, f"clickhouse_tls_{part}")]
    if not address.secure:
        for part in given:
            yield f"{name}_TLS_{part.upper()} is set and {name} is http: write https."
        return
    if "certificate" not in given:
        for part in (part for part in given if part.startswith("key")):
            yield f"{name}_TLS_{part.upper()} is set and {name}_TLS_CERTIFICATE is not: set both."
    paths = filter(None, (address.tls.ca, address.tls.certificate, address.tls.key))
    if not any(list(problem(partial(check_file, path), "")) for path in paths):
        yield from problem(address.tls.context, f"{name}: ")

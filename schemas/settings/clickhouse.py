"""The ClickHouse of a process: its address, login and TLS, and the checks of what fits together."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from usagepipe.schemas.settings.address import ClickHouseAddress, ClickHouseTls
from usagepipe.schemas.settings.secret_files import check_file, problem, read_secret, secret

_DEFAULT_URL: Final = "http://default:@127.0.0.1:8123/default"
_NO_SECRET = SecretStr("")
_TLS: Final = ("ca", "certificate", "key", "key_password", "key_password_file")
_FILES: Final = ("ca", "certificate", "key")


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
        """The address, with the current content of the secret files.

        Raises:
            ValueError: a file is wrong.
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
    """A sentence for every mistake in these settings."""
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
    """The mistakes that show only if all files can be read."""
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

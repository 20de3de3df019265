"""The ClickHouse of a process: its address, login and TLS, and the checks of what fits together."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from usagepipe.schemas.settings.address import ClickHouseAddress
from usagepipe.schemas.settings.secret_files import Tls, read_secret, secret
from usagepipe.schemas.settings.server_checks import (
    problem,
    unfit_files,
    unfit_secrets,
    unfit_tls,
    variable,
)

_FILES: Final = ("ca", "certificate", "key")


def _check_clickhouse(value: SecretStr) -> SecretStr:
    ClickHouseAddress.parse(value.get_secret_value())
    return value


class ClickHouseSettings(BaseSettings):
    """The ClickHouse of a process. Its texts never show a secret."""

    clickhouse: Annotated[SecretStr, AfterValidator(_check_clickhouse)] = Field(
        default=SecretStr("http://default:@127.0.0.1:8123/default"),
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
        default=SecretStr(""), description="Password of that private key."
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
        address = ClickHouseAddress.parse(secret(self.clickhouse, self.clickhouse_file))
        if self.clickhouse_password_file:
            address = replace(address, password=read_secret(self.clickhouse_password_file))
        tls = Tls(
            self.clickhouse_tls_ca,
            self.clickhouse_tls_certificate,
            self.clickhouse_tls_key,
            secret(self.clickhouse_tls_key_password, self.clickhouse_tls_key_password_file),
            self.clickhouse_tls_verify,
        )
        return replace(address, tls=tls)


def clickhouse_problems(settings: ClickHouseSettings) -> Iterator[str]:
    """A sentence for every mistake in these settings."""
    yield from unfit_secrets(settings, "clickhouse", check=_read_address)
    yield from unfit_secrets(settings, "clickhouse_tls_key_password")
    yield from unfit_files(settings, "clickhouse_password_file", check=read_secret)
    tls_files = [*unfit_files(settings, *(f"clickhouse_tls_{part}" for part in _FILES))]
    yield from tls_files
    try:
        address = settings.clickhouse_address
        url = secret(settings.clickhouse, settings.clickhouse_file)
    except ValueError:
        return  # reported above
    name = variable("clickhouse")
    if settings.clickhouse_password_file and ClickHouseAddress.parse(url).password:
        yield f"{name} has a password and {name}_PASSWORD_FILE is set: set one of them."
    off = "" if address.secure else f"{name} is http: write https."
    yield from unfit_tls(settings, "clickhouse", off)
    if address.secure and not tls_files:
        yield from problem(address.tls.context, f"{name}: ")


def _read_address(path: str) -> ClickHouseAddress:
    return ClickHouseAddress.parse(read_secret(path))

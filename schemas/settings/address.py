"""The address of a ClickHouse server."""

import re
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit

from usagepipe.schemas.settings.secret_files import Tls

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# How a URL holds these characters of a password.
_ENCODED: Final = "(in a password write %2F for /, %40 for @, %3A for :, %3F for ?, %23 for #)"


@dataclass(frozen=True, slots=True)
class ClickHouseAddress:
    """Where a ClickHouse server answers over HTTP. `str()` of it never shows the password."""

    host: str
    port: int
    user: str
    password: str
    database: str
    secure: bool
    tls: Tls = field(default_factory=Tls)

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

    def url(self, database: str, password: str) -> str:
        """The URL of a database on this server; `password` is already quoted as in URLs."""
        scheme = "https" if self.secure else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        login = quote(self.user, safe="") + (f":{password}" if password else "")
        return f"{scheme}://{login}@{host}:{self.port}/{database}"

    def __str__(self) -> str:
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{self.host}:{self.port}/{self.database}"

    def __repr__(self) -> str:
        return f"ClickHouseAddress({self})"

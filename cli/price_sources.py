"""Reads the price books that commands name: a version, a file, `active` or `built-in`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usagepipe.cli.options import load_settings
from usagepipe.schemas.clickhouse.client import connect, usagepipe_errors
from usagepipe.schemas.clickhouse.price_books import active_version, read_book
from usagepipe.schemas.errors import PriceFileError, WrongUseError
from usagepipe.schemas.logs import configure_logs, quiet_driver
from usagepipe.schemas.prices import PriceBook, builtin_book, read_yaml
from usagepipe.schemas.settings import QuerySettings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ACTIVE: Final = "active"
BUILT_IN: Final = "built-in"
MAX_BYTES: Final = 16 * 1024 * 1024  # of a price file: one of 10,000 models has 2 MB
_HINT: Final = f" A book is a file, a version of 16 digits, {ACTIVE} or {BUILT_IN}."
_VERSION: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)


class PriceSources:
    """The books that a command can read. It connects to ClickHouse when it needs a stored one."""

    def __init__(self, settings: QuerySettings) -> None:
        self._settings = settings

    @cached_property
    def client(self) -> "Client":
        return connect(self._settings.clickhouse_address)

    def named(self, name: str) -> PriceBook:
        """The book of `name`. A file named like a version is given as ./NAME.

        Raises:
            WrongUseError: there is no such file, or it is wrong.
            MissingBookError, DamagedBookError: the stored book cannot be used.
        """
        if name == ACTIVE:
            return self.active()
        if name == BUILT_IN:
            return builtin_book()
        if is_version(name):
            return read_book(self.client, name)
        return read_price_file(name)

    def active(self) -> PriceBook:
        """The book that was applied last, or the built-in book if none was."""
        version = active_version(self.client)
        return read_book(self.client, version) if version else builtin_book()

    def close(self) -> None:
        """End the connections, if there are any."""
        if "client" in self.__dict__:
            self.client.close()


def is_version(name: str) -> bool:
    """Whether `name` is the version of a book."""
    return _VERSION.fullmatch(name) is not None


@contextmanager
def price_sources(clickhouse: str | None) -> Iterator[PriceSources]:
    """The books of the server that an option or a setting names, with our errors."""
    settings = load_settings(QuerySettings, clickhouse=clickhouse)
    configure_logs(settings.log_level)
    quiet_driver()
    with usagepipe_errors(settings.clickhouse_address):
        sources = PriceSources(settings)
        try:
            yield sources
        finally:
            sources.close()


def read_price_file(name: str) -> PriceBook:
    """The book of a price file, on top of the built-in book.

    Raises:
        WrongUseError: it cannot be read, or it is wrong: with `FILE:LINE: …` for each mistake.
    """
    try:
        with Path(name).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        hint = "" if "/" in name or "." in name else _HINT
        raise WrongUseError(f"{name} cannot be read: {error.strerror}.{hint}") from None
    except ValueError:  # UnicodeDecodeError, or a name that no file can have
        raise WrongUseError(f"{name} cannot be read: it is not UTF-8 text.") from None
    if len(content) > MAX_BYTES:
        raise WrongUseError(f"{name} is no price file: it is longer than {MAX_BYTES:,} bytes.")
    try:
        return read_yaml(text, builtin_book())
    except PriceFileError as error:
        lines = [f"{name}:{line}: {problem}" for line, problem in error.problems]
        count = f"{len(lines)} mistake{'s' * (len(lines) > 1)}"
        raise WrongUseError("\n".join([f"{count} in {name}:", *lines])) from None

"""The pricing of rows with the price books that are stored in ClickHouse."""

from typing import Final

from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.consumer.rows.pricing import OWN_COSTS, Pricing, PricingName
from usagepipe.schemas.clickhouse.price_books import (
    active_version,
    other_versions,
    read_book,
    store_book,
    try_out,
)
from usagepipe.schemas.errors import DamagedBookError, LostHistoryError, MissingBookError
from usagepipe.schemas.prices import Pricer, builtin_book
from usagepipe.schemas.settings import ClickHouseAddress
from usagepipe.schemas.settings.storage import CostRule

MAX_PRICERS: Final = 2  # kept, 10 MB each: a recovery may need the book before the active one


class StoredPrices:
    """Makes the pricing of a rule and a book. Threads may share it. Every method blocks."""

    def __init__(self, address: ClickHouseAddress, seconds: float) -> None:
        self._client = LazyClient(address, seconds)
        self._pricers: dict[str, Pricer] = {}
        self._applied = ""  # the last version that was noted as applied

    def active(self, rule: CostRule) -> Pricing:
        """The pricing with the active book, or with the built-in book if none was applied.

        Raises:
            MissingBookError, DamagedBookError: the active book cannot be used.
            LostHistoryError: a book was applied before, and nothing says so any more.
        """
        if rule is CostRule.REPORTED_ONLY:
            return OWN_COSTS
        version = active_version(self._client.get())
        if self._applied and not version:
            raise LostHistoryError(self._applied)
        self._applied = version
        return Pricing(rule, self._pricer(version) if version else self._builtin())

    def named(self, name: PricingName) -> Pricing:
        """The pricing of `name`, which may have been announced by another process.

        Raises:
            MissingBookError, DamagedBookError: its book cannot be used.
        """
        if name.rule is CostRule.REPORTED_ONLY:
            return OWN_COSTS
        try:
            return Pricing(name.rule, self._pricer(name.version))
        except (MissingBookError, DamagedBookError):
            if builtin_book().version != name.version:
                raise
            return Pricing(name.rule, self._builtin())

    def keep(self, pricing: Pricing) -> None:
        """Store the book of `pricing`, so that other processes can use it by its version.

        Also replaces a copy that was lost or damaged since.
        """
        if pricing.book is not None:
            store_book(self._client.get(), pricing.book)

    def others(self, version: str) -> tuple[str, ...]:
        """The stored books other than `version`, the newest first, if no book was ever applied.

        What was applied is what `active` found last.
        """
        return () if self._applied else other_versions(self._client.get(), version)

    def try_out(self) -> None:
        """Raise what storing a book would raise. Blocks."""
        try_out(self._client.get())

    def _pricer(self, version: str) -> Pricer:
        found = self._pricers.get(version)
        return self._kept(found or Pricer(read_book(self._client.get(), version)))

    def _builtin(self) -> Pricer:
        book = builtin_book()
        return self._kept(self._pricers.get(book.version) or Pricer(book))

    def _kept(self, pricer: Pricer) -> Pricer:
        """`pricer`, kept as the one that was used last."""
        others = [each for each in self._pricers.values() if each.version != pricer.version]
        last = [*others, pricer][-MAX_PRICERS:]
        self._pricers = {each.version: each for each in last}  # other threads read the old one
        return pricer

    def close(self) -> None:
        """End the connections."""
        self._client.close()

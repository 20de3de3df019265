"""Which prices the batches of a worker get: the active book's, or those that were announced."""

import asyncio
import random
from typing import Final, Protocol

import structlog

from usagepipe.consumer.clickhouse.prices import StoredPrices
from usagepipe.consumer.rows.pricing import Pricing, PricingName
from usagepipe.consumer.runtime.causes import brief, cause_of
from usagepipe.consumer.runtime.runtime import Runtime, in_thread
from usagepipe.schemas.settings.storage import CostRule

log = structlog.get_logger()

REFRESH_SECONDS: Final = (10.0, 20.0)  # between two looks for a new book; random, so that workers
# that were started together do not ask all at once


class Prices(Protocol):
    """Where the costs of a batch come from."""

    async def active(self) -> Pricing:
        """The pricing of a new batch."""

    async def announced(self, name: str) -> Pricing:
        """The pricing that an announcement names. Waits until its book is there."""


class PriceBooks:
    """The active book of one worker, kept up to date in the background."""

    def __init__(self, stored: StoredPrices, rule: CostRule, runtime: Runtime) -> None:
        self._stored = stored
        self._rule = rule
        self._runtime = runtime
        self._loading = asyncio.Lock()
        self._active: Pricing | None = None

    async def active(self) -> Pricing:
        """The pricing of a new batch: with the active book, at most `REFRESH_SECONDS` old."""
        if self._active is None:
            async with self._loading:
                if self._active is None:
                    self._active = await self._runtime.ask("price book", self._load)
        return self._active

    async def announced(self, name: str) -> Pricing:
        """The pricing that an announcement names, also if the book was replaced meanwhile.

        Waits for the book as for a server: tries again, and reports it, until it can be read.
        """
        wanted = PricingName.decode(name)
        if self._active is not None and self._active.name == wanted:
            return self._active
        return await self._runtime.ask(f"price book {wanted.version}", self._stored.named, wanted)

    async def refresh(self) -> None:
        """Look for a new active book for ever. A failure leaves the book that is known."""
        while self._rule is not CostRule.REPORTED_ONLY:
            await asyncio.sleep(random.uniform(*REFRESH_SECONDS))
            if self._active is None:
                continue  # the first batch loads it
            try:
                found = await in_thread(self._runtime.threads.ask, self._load)
            except Exception as error:  # any failure of a server or client, or a damaged book
                log.warning(
                    "price_book_not_refreshed",
                    version=self._active.name.version,
                    error=brief(error),
                    why=cause_of(error).why,
                )
                continue
            if found.name != self._active.name:
                log.info("price_book_changed", version=found.name.version)
            self._active = found

    def _load(self) -> Pricing:
        pricing = self._stored.active(self._rule)
        if self._active is None or self._active.name != pricing.name:
            # Before a batch is announced with it: its recovery may need the book elsewhere.
            self._stored.keep(pricing)
        return pricing

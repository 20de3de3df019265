"""Which prices the batches of a worker get: the active book's, or those that were announced."""

import asyncio
import random
from threading import Lock
from typing import Final, Protocol, cast

import structlog

from usagepipe.consumer.clickhouse.prices import StoredPrices
from usagepipe.consumer.rows.pricing import Pricing, PricingName
from usagepipe.consumer.runtime.causes import brief, cause_of
from usagepipe.consumer.runtime.runtime import Runtime, in_thread
from usagepipe.schemas.clickhouse.codes import Kind
from usagepipe.schemas.settings.storage import CostRule

log = structlog.get_logger()

REFRESH_SECONDS: Final = (10.0, 20.0)  # between two looks for a new book; random, so that workers
# that were started together do not ask all at once
TROUBLE: Final = "price_book"  # in the health: the active book cannot be used
MOST_OTHERS: Final = 5  # in a line of the log
NOBODY_APPLIED: Final = (
    "this worker uses its built-in prices, and rows or other workers may have those of another"
    " book: usagepipe prices apply {version} makes these prices the active ones, with another"
    " version those of that book"
)


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
        self._loading = Lock()
        self._active: Pricing | None = None

    def try_out(self) -> None:
        """Raise what the next batch would; the first time, load the active book. Blocks.

        So a worker has its prices before it has partitions: one that cannot read the active book
        at its start takes no partition from workers that can.
        """
        if self._active is None:
            self._first()
        elif self._rule is not CostRule.REPORTED_ONLY:
            self._stored.try_out()

    async def active(self) -> Pricing:
        """The pricing of a new batch: with the active book, at most `REFRESH_SECONDS` old."""
        if self._active is not None:
            return self._active
        return await self._runtime.ask("price book", self._first)

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
            if self._active is not None:  # else the admission or the first batch loads it
                await self.refresh_once()

    async def refresh_once(self) -> None:
        """Change to the active book. A failure leaves the book that is known."""
        try:
            found = await in_thread(self._runtime.threads.ask, self._load)
        except Exception as error:  # any failure of a server or client, or a damaged book
            cause = cause_of(error)
            # A server that is away is noted elsewhere. A bad book, a dropped table and a missing
            # right are not: nothing else reads the history.
            if cause.kind is Kind.OPERATOR:
                self._runtime.health.failed(TROUBLE, error)
            log.warning("price_book_not_refreshed", error=brief(error), why=cause.why)
            return
        self._runtime.health.succeeded(TROUBLE)
        self._use(found)

    def _first(self) -> Pricing:
        """Load the active book, unless another thread has."""
        with self._loading:
            if self._active is None:
                pricing = self._load()
                self._warn_of_others(pricing)
                self._use(pricing)
            return cast(Pricing, self._active)

    def _warn_of_others(self, pricing: Pricing) -> None:
        """Log that other prices were used before. Nobody has said which ones count, or the history
        that says it was lost: so costs may change without a word.
        """
        version = pricing.name.version
        others = self._stored.others(version) if version else ()
        if others:
            log.warning(
                "no_price_book_applied",
                version=version,
                others=others[:MOST_OTHERS],
                why=NOBODY_APPLIED.format(version=version),
            )

    def _use(self, pricing: Pricing) -> None:
        before, self._active = self._active, pricing
        if before is not None and before.name == pricing.name:
            return
        name = pricing.name
        self._runtime.health.prices = name.encode() or str(name.rule)
        self._runtime.metrics.price_book.clear()
        self._runtime.metrics.price_book.labels(name.rule, name.version).set(1)
        log.info("price_book_used", rule=name.rule, version=name.version)

    def _load(self) -> Pricing:
        """The active pricing. Its book is stored when a batch is announced with it.

        A recovery elsewhere may need it. So a copy that was lost or damaged is stored again too.
        """
        pricing = self._stored.active(self._rule)
        self._stored.keep(pricing)
        return pricing

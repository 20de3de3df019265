"""Which prices a worker's batches get while books are replaced, damaged or missing."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from structlog.testing import capture_logs

from tests.support.partition_world import until
from usagepipe.consumer.rows.pricing import OWN_COSTS, Pricing, PricingName
from usagepipe.consumer.runtime.health import Health, Trouble
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.retry import Retrier
from usagepipe.consumer.runtime.runtime import Runtime, Threads
from usagepipe.consumer.worker.price_books import TROUBLE, PriceBooks
from usagepipe.schemas.errors import DamagedBookError, LostHistoryError, MissingBookError
from usagepipe.schemas.prices import PriceBook, Pricer, builtin_book, read_yaml
from usagepipe.schemas.settings.storage import CostRule

RULE = CostRule.REPORTED_FIRST
BUILTIN = builtin_book()
OTHER = read_yaml("discounts:\n  - provider: openai\n    negotiated: 0.9\n", BUILTIN)


class FakePrices:
    """The books of ClickHouse in memory, and what is asked of it."""

    def __init__(self) -> None:
        self.applied = BUILTIN
        self.stored: dict[str, PriceBook] = {}
        self.other_books: tuple[str, ...] = ()
        self.asked: list[str] = []
        self.error: Exception | None = None

    def active(self, rule: CostRule) -> Pricing:
        self._ask("active")
        return OWN_COSTS if rule is CostRule.REPORTED_ONLY else Pricing(rule, Pricer(self.applied))

    def named(self, name: PricingName) -> Pricing:
        self._ask(f"named {name.version}")
        if name.rule is CostRule.REPORTED_ONLY:
            return OWN_COSTS
        if name.version not in self.stored:
            raise MissingBookError(name.version)
        return Pricing(name.rule, Pricer(self.stored[name.version]))

    def keep(self, pricing: Pricing) -> None:
        if pricing.book is not None:
            self.stored[pricing.book.version] = pricing.book

    def others(self, version: str) -> tuple[str, ...]:
        return self.other_books

    def try_out(self) -> None:
        self._ask("try out")

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error


class World:
    """The price books of one worker."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.server = FakePrices()
        self.health = Health(assigned=True)
        self.metrics = WorkerMetrics()
        retry = Retrier(self.metrics, self.health)
        self._runtime = Runtime(Threads(*[threads] * 3), retry, self.metrics, self.health)

    def books(self, rule: CostRule = RULE) -> PriceBooks:
        return PriceBooks(self.server, rule, self._runtime)  # type: ignore[arg-type]


@pytest.fixture
def world() -> Iterator[World]:
    with ThreadPoolExecutor(2) as threads:
        yield World(threads)


def test_all_batches_share_one_load_and_its_book_is_stored_first(world: World) -> None:
    """Partitions that begin together ask once. Another worker can recover what they announce."""

    async def run() -> list[Pricing]:
        books = world.books()
        return await asyncio.gather(*(books.active() for _ in range(5)))

    first, *others = asyncio.run(run())

    assert ["active"] == world.server.asked
    assert all(first is each for each in others)
    assert {BUILTIN.version: BUILTIN} == world.server.stored


def test_a_replaced_book_is_for_new_batches_alone(world: World) -> None:
    """What was announced keeps its version, also after the active book was replaced."""

    async def run() -> tuple[str, str, str]:
        books = world.books()
        announced = (await books.active()).name.encode()
        world.server.applied = OTHER
        before = await books.active()
        await books.refresh_once()
        return (
            before.name.version,
            (await books.active()).name.version,
            (await books.announced(announced)).name.encode(),
        )

    versions = asyncio.run(run())

    assert (BUILTIN.version, OTHER.version, f"{RULE}:{BUILTIN.version}") == versions
    assert f"{RULE}:{OTHER.version}" == world.health.report()["prices"]
    labels = {"rule": str(RULE), "version": OTHER.version}
    assert 1 == world.metrics.registry.get_sample_value("usagepipe_price_book_info", labels)


@pytest.mark.parametrize("rule", CostRule)
def test_an_announcement_decides_the_rule_too(world: World, rule: CostRule) -> None:
    """The worker that recovers may have another USAGEPIPE_COST, and no prices at all."""
    world.server.stored[BUILTIN.version] = BUILTIN
    name = PricingName(CostRule.PRICES_FIRST, BUILTIN.version).encode()

    pricing = asyncio.run(world.books(rule).announced(name))

    assert name == pricing.name.encode()


def test_an_announcement_without_prices_keeps_the_events_own_costs(world: World) -> None:
    """It is of a worker that uses no prices. No book is needed for it."""
    pricing = asyncio.run(world.books().announced(""))

    assert pricing is OWN_COSTS


def test_a_recovery_waits_for_its_book_and_the_health_says_so(world: World) -> None:
    """It never guesses another price: it goes on when the book can be read."""

    async def run() -> tuple[str, str]:
        books = world.books()
        waiting = asyncio.create_task(books.announced(f"{RULE}:{OTHER.version}"))
        await until(lambda: len(world.server.asked) >= 2)
        report = str(world.health.report())
        world.server.stored[OTHER.version] = OTHER
        return report, (await waiting).name.version

    report, version = asyncio.run(run())

    assert f"The price book {OTHER.version} is not stored" in report
    assert OTHER.version == version
    assert "running" == world.health.state


FAULTS: list[tuple[Exception, str]] = [
    (MissingBookError("0123456789abcdef"), "degraded"),
    (LostHistoryError("0123456789abcdef"), "degraded"),
    (DamagedBookError("price book 0123456789abcdef", "it has no prices"), "degraded"),
    (DatabaseError("HTTP driver received HTTP status 404 ... Code: 60. DB::Exception"), "degraded"),
    (ConnectionError(), "running"),  # noted where the server is looked at
]


@pytest.mark.parametrize(("error", "state"), FAULTS)
def test_a_book_that_cannot_be_used_leaves_the_one_before(
    world: World, error: Exception, state: str
) -> None:
    """The worker stores on with the book that it has. The health names what is wrong."""

    async def run() -> tuple[str, str, dict[str, Trouble]]:
        books = world.books()
        await books.active()
        world.server.error = error
        await books.refresh_once()
        seen = world.health.state, dict(world.health.troubles)
        active = await books.active()
        world.server.error = None
        await books.refresh_once()
        return active.name.version, *seen

    version, seen, troubles = asyncio.run(run())

    assert (BUILTIN.version, state) == (version, seen)
    assert (state == "degraded") == (TROUBLE in troubles)
    assert "running" == world.health.state


def test_a_worker_warns_at_its_start_if_other_prices_were_used_before(world: World) -> None:
    """Nobody applied a book, or the history is lost. It names the books and what to do, once."""
    world.server.other_books = (OTHER.version,)
    books = world.books()

    with capture_logs() as lines:
        books.try_out()
        books.try_out()
        asyncio.run(books.refresh_once())

    (warning,) = (line for line in lines if line["log_level"] == "warning")
    assert "no_price_book_applied" == warning["event"]
    assert (BUILTIN.version, (OTHER.version,)) == (warning["version"], warning["others"])
    assert f"usagepipe prices apply {BUILTIN.version}" in warning["why"]


def test_a_worker_has_its_prices_before_it_has_partitions(world: World) -> None:
    """The admission loads them. Later it only checks that a book could be stored."""
    books = world.books()
    world.server.error = DamagedBookError("price book", "it is no JSON")
    with pytest.raises(DamagedBookError):
        books.try_out()
    world.server.error = None
    books.try_out()
    world.server.asked.clear()

    asyncio.run(books.active())
    books.try_out()

    assert ["try out"] == world.server.asked


def test_without_prices_nothing_is_asked_for_a_book(world: World) -> None:
    """`reported-only`: no right on the tables of price books is needed."""
    books = world.books(CostRule.REPORTED_ONLY)
    books.try_out()
    world.server.asked.clear()

    books.try_out()
    asyncio.run(asyncio.wait_for(books.refresh(), 1))

    assert [] == world.server.asked
    assert "reported-only" == world.health.report()["prices"]

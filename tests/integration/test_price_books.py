"""Which prices stored rows have while books are replaced, lost and damaged, with real servers."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support import topics
from tests.support.chaos_balance import rollup_differences
from tests.support.commands import usagepipe
from tests.support.programs import Program, Programs
from tests.support.running_worker import (
    SECONDS,
    MakeSettings,
    event,
    health,
    metric,
    start_doomed_worker,
    start_worker,
    wait_until_committed,
    wait_until_running,
)
from tests.support.stored_prices import MODEL, house_book, priced_sum, versions, wrong_costs
from tests.support.waiting import eventually
from tests.support.worker import raw_counts
from usagepipe.consumer.clickhouse.prices import StoredPrices
from usagepipe.consumer.rows.pricing import PricingName
from usagepipe.consumer.topics.group_offsets import GroupOffsets
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.clickhouse.price_books import (
    active_version,
    apply_book,
    history,
    read_book,
    store_book,
    try_out,
)
from usagepipe.schemas.errors import LostHistoryError, MissingBookError, UsagePipeError
from usagepipe.schemas.prices import PriceBook, builtin_book
from usagepipe.schemas.settings.storage import CostRule

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.usefixtures("migrated")

NEW_YEAR: Final = datetime(2026, 1, 1, tzinfo=UTC)
FIRST: Final = house_book(1)
SECOND: Final = house_book(3, before=2)
APPLIED_SECONDS: Final = 60  # from `prices apply` to the first row with the new version
EVENTS: Final = [event(number, model=MODEL, occurred_at=NEW_YEAR) for number in range(1, 101)]
MILLIONS: Final = Decimal(sum(each.prompt_tokens for each in EVENTS)) / 10**6


def send(settings: Settings, events: list[UsageEvent]) -> None:
    values = [encode(each) for each in events]
    topics.send(settings.kafka, settings.topic, values, partition=0, key=b"a key")


def apply(client: "Client", book: PriceBook) -> None:
    apply_book(client, book, "tests", "")


def forget_announcement(settings: Settings) -> bool:
    """Commit the offset of partition 0 without metadata; False while the group has members."""
    with closing(GroupOffsets(settings, settings.group)) as group:
        offset = group.read(settings.topic, [0])[0].offset
        try:
            group.commit(settings.topic, 0, offset, "")
        except UsagePipeError:
            return False
    return True


@contextmanager
def killed_before_the_insert(
    folder: Path, settings: Settings, point: str = "before_insert", **options: object
) -> Iterator[Program]:
    """A worker that has announced its first batch, and ended: there, or at another `point`."""
    program = start_doomed_worker(folder, settings, f"{point}=kill#1", **options)
    try:
        assert -9 == program.wait(SECONDS), program.tail()
        yield program
    finally:
        program.kill()


def test_a_book_is_stored_once_and_read_as_it_was(clickhouse_client: "Client") -> None:
    """The history keeps each application. Trying out the right to store stores nothing."""
    try_out(clickhouse_client)
    for comment in ('a "comment" \n ü', ""):
        apply_book(clickhouse_client, FIRST, "tests", comment)

    read = read_book(clickhouse_client, FIRST.version)
    comments = [each.comment for each in history(clickhouse_client)]
    ((count,),) = clickhouse_client.query("SELECT count() FROM price_books").result_rows
    assert FIRST.to_json() == read.to_json()
    assert FIRST.version == active_version(clickhouse_client)
    assert (1, ["", 'a "comment" \n ü']) == (count, comments)


def test_the_book_applied_last_is_active_though_a_clock_was_ahead(
    clickhouse_client: "Client",
) -> None:
    """Another server of a cluster noted its application a day too late."""
    ahead = "now64(6) + INTERVAL 1 DAY, '0123456789abcdef', 'tests', ''"
    clickhouse_client.command(f"INSERT INTO price_book_history SELECT {ahead}")

    for book in (FIRST, SECOND):
        apply(clickhouse_client, book)

    versions_applied = [each.version for each in history(clickhouse_client)]
    assert SECOND.version == active_version(clickhouse_client)
    assert [SECOND.version, FIRST.version, "0123456789abcdef"] == versions_applied


def test_a_worker_keeps_its_book_when_the_history_is_lost(
    settings: MakeSettings, clickhouse_client: "Client"
) -> None:
    """The built-in prices would be wrong ones, and nobody would see why."""
    apply(clickhouse_client, FIRST)
    with closing(StoredPrices(settings().clickhouse_address, SECONDS)) as stored:
        before = stored.active(CostRule.REPORTED_FIRST)
        clickhouse_client.command("TRUNCATE TABLE price_book_history")

        with pytest.raises(LostHistoryError, match=f"apply --version {FIRST.version}"):
            stored.active(CostRule.REPORTED_FIRST)
        apply(clickhouse_client, FIRST)
        after = stored.active(CostRule.REPORTED_FIRST)

    assert FIRST.version == before.name.version == after.name.version


def test_of_two_books_applied_in_the_same_microsecond_all_take_the_same(
    clickhouse_client: "Client",
) -> None:
    """Two servers of a cluster may do so. The higher version is active, and first in the history,
    whichever was written first; a later application comes after both.
    """
    now = datetime.now(UTC)
    higher, lower = sorted([FIRST.version, SECOND.version], reverse=True)
    for version in (higher, lower):
        row = [now, version, "tests", ""]
        columns = ("applied_at", "version", "applied_by", "comment")
        clickhouse_client.insert("price_book_history", [row], column_names=columns)
    both = [each.version for each in history(clickhouse_client)]
    active = active_version(clickhouse_client)

    apply(clickhouse_client, FIRST if FIRST.version == lower else SECOND)

    assert ([higher, lower], higher) == (both, active)
    assert lower == active_version(clickhouse_client)


def test_a_worker_shows_that_the_history_was_dropped_and_the_next_one_warns(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """The running worker keeps its book. One that starts with an empty history has no other way
    than its built-in prices: it names the book that was used, and the command that applies it.
    """
    made = settings()
    apply(clickhouse_client, FIRST)
    running = start_worker(run_program, made)
    wait_until_running(running)
    clickhouse_client.command("DROP TABLE price_book_history")
    eventually(lambda: "price_book" in str(health(running).get("troubles")), SECONDS, running.tail)
    report = health(running)
    send(made, EVENTS)
    wait_until_committed(made, running)
    running.stop()
    remade = usagepipe(made, "migrate", "--remake")

    starting = start_worker(run_program, made)
    wait_until_running(starting)

    assert 0 == remade.status, remade
    assert ("degraded", True) == (report["state"], "a table is missing" in str(report))
    assert {FIRST.version: len(EVENTS)} == versions(clickhouse_client)
    (line,) = (line for line in starting.stderr.splitlines() if "no_price_book_applied" in line)
    assert FIRST.version in line


def test_an_announced_built_in_book_needs_no_stored_copy(
    settings: MakeSettings, clickhouse_client: "Client"
) -> None:
    """Also if another book is active, and the tables were restored from a backup."""
    apply(clickhouse_client, FIRST)
    name = PricingName(CostRule.REPORTED_FIRST, builtin_book().version)
    with closing(StoredPrices(settings().clickhouse_address, SECONDS)) as stored:
        assert name == stored.named(name).name
        with pytest.raises(MissingBookError):
            stored.named(PricingName(CostRule.REPORTED_FIRST, SECOND.version))


@pytest.mark.parametrize(("missing", "book"), [("nothing", FIRST), ("pin", SECOND)])
def test_an_announced_batch_keeps_its_prices_though_the_book_was_replaced(
    missing: str,
    book: PriceBook,
    settings: MakeSettings,
    clickhouse_client: "Client",
    tmp_path: Path,
) -> None:
    """The process that had the book is dead. Without the announced version, another would count."""
    made = settings()
    apply(clickhouse_client, FIRST)
    send(made, EVENTS)
    with killed_before_the_insert(tmp_path, made, batch_seconds=3, batch_rows=1_000):
        apply(clickhouse_client, SECOND)

    worker = start_doomed_worker(tmp_path, made, "", missing=missing)
    try:
        wait_until_committed(made, worker)
    finally:
        worker.kill()

    assert {book.version: len(EVENTS)} == versions(clickhouse_client)
    assert [] == list(wrong_costs(clickhouse_client))
    assert MILLIONS * (1 if book is FIRST else 3) == priced_sum(clickhouse_client)


@pytest.mark.parametrize("harm", ["is not stored", "is damaged"])
def test_a_recovery_waits_for_an_announced_book_that_cannot_be_read(
    harm: str,
    settings: MakeSettings,
    run_program: Programs,
    clickhouse_client: "Client",
    tmp_path: Path,
) -> None:
    """It stores nothing, says why, and goes on when an intact copy appears."""
    made = settings()
    apply(clickhouse_client, FIRST)
    send(made, EVENTS)
    with killed_before_the_insert(tmp_path, made, batch_seconds=3, batch_rows=1_000):
        apply(clickhouse_client, SECOND)
        clickhouse_client.command(f"DELETE FROM price_books WHERE version = '{FIRST.version}'")
        if harm == "is damaged":
            row = [FIRST.version, FIRST.to_json()[:-100]]
            clickhouse_client.insert("price_books", [row], column_names=("version", "book"))

    worker = start_worker(run_program, made, cost="reported-only")
    eventually(lambda: FIRST.version in str(health(worker)), SECONDS, worker.tail)
    report, stored = health(worker), raw_counts(clickhouse_client)
    store_book(clickhouse_client, FIRST)
    wait_until_committed(made, worker)
    wait_until_running(worker)

    assert ("degraded", (0, 0)) == (report["state"], stored)
    assert harm in str(report)
    assert {FIRST.version: len(EVENTS)} == versions(clickhouse_client)
    assert [] == list(wrong_costs(clickhouse_client))


@pytest.mark.parametrize(("point", "book"), [("before_insert", SECOND), ("after_insert", FIRST)])
def test_a_batch_whose_book_is_lost_for_good_is_given_up_to_the_prices_of_today(
    point: str,
    book: PriceBook,
    settings: MakeSettings,
    run_program: Programs,
    clickhouse_client: "Client",
    tmp_path: Path,
) -> None:
    """The offset is committed again without metadata. Rows that are stored keep their costs, also
    if the views missed them; nothing is stored twice.
    """
    made = settings()
    apply(clickhouse_client, FIRST)
    send(made, EVENTS)
    with killed_before_the_insert(tmp_path, made, point, batch_seconds=3, batch_rows=1_000):
        apply(clickhouse_client, SECOND)
    clickhouse_client.command(f"DELETE FROM price_books WHERE version = '{FIRST.version}'")
    for rollup in ("rollup_usage_15m", "rollup_usage_1d"):
        clickhouse_client.command(f"TRUNCATE TABLE {rollup}")
    eventually(lambda: forget_announcement(made), SECONDS, "a group without members")

    worker = start_worker(run_program, made)
    wait_until_committed(made, worker)
    wait_until_running(worker)

    assert (len(EVENTS), len(EVENTS)) == raw_counts(clickhouse_client)
    assert {book.version: len(EVENTS)} == versions(clickhouse_client)
    assert [] == rollup_differences(clickhouse_client)


def test_a_worker_changes_to_an_applied_book_within_a_minute(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """Without a restart. An event from before the change of a rate has the rate of its time."""
    made = settings()
    worker = start_worker(run_program, made)
    send(made, [event(1, model="gpt-4o", provider="openai"), event(1, model=MODEL)])
    wait_until_committed(made, worker)
    before = versions(clickhouse_client)

    apply(clickhouse_client, SECOND)
    began = time.monotonic()
    late = event(1_000_000, model=MODEL, occurred_at=NEW_YEAR - timedelta(seconds=1))
    own = event(1_000_000, model=MODEL, occurred_at=NEW_YEAR, cost=Decimal("0.5"))

    def is_priced() -> int:
        send(made, [event(1, model=MODEL)])
        time.sleep(0.5)
        return versions(clickhouse_client)[SECOND.version]

    eventually(is_priced, APPLIED_SECONDS, worker.tail)
    seconds = time.monotonic() - began
    wait_until_committed(made, worker)
    spent = priced_sum(clickhouse_client)
    send(made, [late, own])
    wait_until_committed(made, worker)

    print(f"the new price book was used after {seconds:.1f} s")
    assert {builtin_book().version: 1} == before
    assert Decimal("2.5") == priced_sum(clickhouse_client) - spent
    assert [] == list(wrong_costs(clickhouse_client))
    assert f"reported-first:{SECOND.version}" == health(worker)["prices"]
    label = f'{{rule="reported-first",version="{SECOND.version}"}}'
    assert 1 == metric(worker, f"usagepipe_price_book_info{label}")
    assert 1 == metric(worker, 'usagepipe_costs_total{source="stamped"}')
    assert (metric(worker, 'usagepipe_costs_total{source="priced"}') or 0) >= 3
    assert (metric(worker, 'usagepipe_costs_total{source="none"}') or 0) >= 1


def test_a_worker_that_cannot_read_the_active_book_takes_no_partition(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """A running one goes on with its book, and both say what is wrong."""
    made = settings()
    apply(clickhouse_client, FIRST)
    running = start_worker(run_program, made)
    wait_until_running(running)
    row = [SECOND.version, "tests", ""]
    columns = ("version", "applied_by", "comment")
    clickhouse_client.insert("price_book_history", [row], column_names=columns)

    starting = start_worker(run_program, made)
    eventually(lambda: SECOND.version in str(health(starting)), SECONDS, starting.tail)
    send(made, EVENTS)
    wait_until_committed(made, running)
    eventually(lambda: SECOND.version in str(health(running)), SECONDS, running.tail)
    waiting = health(starting)
    store_book(clickhouse_client, SECOND)
    wait_until_running(starting)
    wait_until_running(running)

    assert "ClickHouse" in str(waiting["waiting_for"])
    assert {FIRST.version: len(EVENTS)} == versions(clickhouse_client)

"""The comparison of the chaos test can fail: one crash at the moment that hurts, exact with the
whole protocol and wrong without the one guarantee that is for it.
"""

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.chaos_balance import differences
from tests.support.chaos_traffic import BAD, Ledger
from tests.support.chaos_world import POISON, World, failing_view, refuse_poison
from tests.support.cutting_proxy import CuttingProxy
from tests.support.topics import make_topics, send
from tests.support.waiting import eventually
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.settings import ClickHouseAddress

POINTS = [
    "before_lookup=kill#1",
    "after_lookup=kill#1",
    "after_announce=kill#1",
    "before_insert=kill#1",
    "during_insert=kill#1",
    "after_insert=kill#1",
    "before_letters=kill#1",
    "after_letters=kill#1",
    "before_acknowledge=kill#1",
    "after_acknowledge=kill#1",
]
POISON_POINTS = [
    "after_refusal=kill#1",  # nothing of it landed, and nothing is divided yet
    "after_announce=kill#2",  # of the first half, or of what is left of it
    "after_insert=kill#1",
    "after_refusal=kill#3",
    "after_announce=kill#4",
    "before_letters=kill#2",
    "after_letters=kill#2",
]
SECONDS = 60  # for what takes five, on a busy machine


@pytest.fixture
def world(
    settings: Callable[..., Settings],
    kafka: str,
    topic_name: str,
    migrated: ClickHouseAddress,
    tmp_path: Path,
) -> Iterator[World]:
    """A topic of one partition and its tables, without a worker."""
    make_topics(kafka, topic_name, 1)
    made = settings(topic=topic_name)
    proxy = CuttingProxy(migrated.port, random.Random(1))
    world = World(made, tmp_path, proxy)
    yield world
    world.end()
    for program in world.started:
        print(program.tail())


def sent(
    settings: Settings, ledger: Ledger, count: int, *, bad: int = 0, poison: int = 0, twice: int = 0
) -> Ledger:
    """Send `count` events, then `bad` records without an event, `poison` events that the table
    refuses, and the first `twice` events again.
    """
    events, poisoned = [_event(number) for number in range(count)], _event(0, model=POISON)
    values = [encode(event) for event in events]
    poisons = [encode(poisoned)] * poison
    records = [*values, *BAD[:bad], *poisons, *values[:twice]]
    send(settings.kafka, settings.topic, records)
    for event in events:
        ledger.enter(event)
    ledger.refused.update(poisons)
    ledger.records += len(records)
    return ledger


def _event(number: int, **fields: str) -> UsageEvent:
    return UsageEvent.new(
        user_id=f"user-{number % 3}", prompt_tokens=number, total_tokens=number, **fields
    )


def places(found: list[str]) -> set[str]:
    """Which tables differ."""
    return {line.partition(":")[0] for line in found}


def settled(world: World) -> None:
    """All is stored, and every running program has ended in order."""
    world.settle(SECONDS)
    for program in world.started:
        if program.status is None:
            program.stop()


def without_window(settings: Settings) -> None:
    """The 15-minute rollup remembers no block."""
    with connect(settings.clickhouse_address) as client:
        client.command(
            "ALTER TABLE rollup_usage_15m MODIFY SETTING non_replicated_deduplication_window = 0"
        )


@pytest.mark.parametrize("missing", ["nothing", "token", "window"])
def test_an_answer_that_got_lost(world: World, missing: str) -> None:
    """T-59: the insert is retried. Without the token raw rows double, and without a rollup's
    window that rollup.
    """
    ledger = sent(world.settings, Ledger(), 100)
    if missing == "window":
        without_window(world.settings)
    world.proxy.arm("after", 2)  # the client itself tries twice

    # At its start a worker would refuse a rollup without a window.
    world.worker(missing=missing, batch_rows=100, batch_seconds=5, preflight=False)
    eventually(lambda: not world.proxy.armed, SECONDS, "the answers to get lost")
    if missing != "token":  # a worker may refuse to go on from doubled rows
        settled(world)

    eventually(lambda: WRONG[missing] == places(differences(world.settings, ledger)), SECONDS)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("points", [POINTS, POISON_POINTS], ids=["plain", "poison"])
def test_a_worker_killed_at_each_point_of_a_batch(world: World, points: list[str]) -> None:
    """T-61, T-62: no point loses or doubles a row, with any borders of the next batch."""
    ledger = Ledger()
    refuse_poison(world.settings)
    for number, point in enumerate(points):
        poison = 1 if points is POISON_POINTS else 0
        sent(world.settings, ledger, 100, bad=2, poison=poison, twice=20)
        # A preflight before each death would take too long.
        worker = world.worker(points=point, batch_rows=60 + 7 * number, preflight=False)
        assert -signal.SIGKILL == worker.wait(), point
    world.worker(batch_rows=40)
    settled(world)

    assert [] == differences(world.settings, ledger)


def test_a_worker_killed_when_only_raw_was_stored(world: World) -> None:
    """T-61: the next one sends the same range again, which heals the view."""
    ledger = sent(world.settings, Ledger(), 200)

    with failing_view(world.settings, "rollup_usage_1d", "parts"):
        first = world.worker(batch_rows=70, batch_seconds=5)
        first.wait_for_output("store_failed")
        first.kill()
    world.worker(batch_rows=100)
    settled(world)

    assert [] == differences(world.settings, ledger)


@pytest.mark.parametrize("missing", ["nothing", "announcement"])
def test_a_zombie_that_wakes_up_before_its_insert(world: World, missing: str) -> None:
    """T-61: others have stored its partition since. They sent the range that it had announced, so
    its insert changes nothing; without the announcement they cut their own.
    """
    ledger = sent(world.settings, Ledger(), 200)
    zombie = world.worker(
        missing=missing, points="before_insert=stop#1", batch_rows=70, batch_seconds=5
    )
    zombie.wait_for_output("before_insert")
    world.worker(batch_rows=100)
    world.settle(SECONDS)

    zombie.send_signal(signal.SIGCONT)
    eventually(lambda: "commit_fenced" in zombie.stderr, SECONDS, "the refusal of the zombie")
    settled(world)

    assert (missing == "nothing") == (differences(world.settings, ledger) == [])


@pytest.mark.parametrize(
    ("missing", "point"),
    [("nothing", "before_commit"), ("nothing", "in_commit"), ("fence", "before_commit")],
)
def test_a_zombie_that_wakes_up_in_an_empty_group(world: World, missing: str, point: str) -> None:
    """T-61: it was stopped before it announced its second batch, and others have stored that since.
    Without the fence its announcement goes out, and its insert with it.
    """
    ledger = sent(world.settings, Ledger(), 200)
    zombie = world.worker(missing=missing, points=f"{point}=stop#2", batch_rows=70, batch_seconds=5)
    zombie.wait_for_output(point)
    other = world.worker(batch_rows=100)
    world.settle(SECONDS)
    other.stop()

    zombie.send_signal(signal.SIGCONT)
    eventually(lambda: zombie.stderr.count("assignment_began") == 2, SECONDS, "the zombie's return")
    settled(world)

    assert (missing == "nothing") == (differences(world.settings, ledger) == [])


WRONG = {
    "nothing": set[str](),
    "token": {"usage_events"},  # and the rollups with it
    "window": {"rollup_usage_15m"},
}

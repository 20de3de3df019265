"""When a partition is parked, with which notes, and when it is resumed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from tests.support.fake_records import PARTITION, FakeRecord
from usagepipe.consumer.log.record_batches import DecodedBatch
from usagepipe.consumer.log.records import Record
from usagepipe.consumer.parking.decision import Parking
from usagepipe.consumer.parking.limits import DeadLetterLimits
from usagepipe.consumer.parking.parked import Parked, ParkedError
from usagepipe.consumer.parking.table import Mode, Notes, ParkingTable, Release, parked_now
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.rows.rows import Rejected, Rows
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.retry import Retrier
from usagepipe.consumer.runtime.runtime import Runtime, Threads

pytestmark = pytest.mark.anyio
LIMITS = DeadLetterLimits(run=10, ratio=0.2)
TOPIC_ID = "topic-id"


class FakeTable:
    """The notes of one partition, with a clock that moves at each note."""

    def __init__(self) -> None:
        self.notes = Notes()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def read(self, topic_id: str, partition: int) -> Notes:
        return self.notes

    def park(self, parked: Parked) -> None:
        parked = replace(parked, noted_at=parked.noted_at or self.tick())
        self.notes = replace(self.notes, parked=parked)

    def resume(self, parked: Parked) -> None:
        self.notes = replace(self.notes, parked=None)

    def decide(self, mode: Mode, first: int, last: int) -> None:
        self.notes = replace(self.notes, release=Release(mode, first, last, "me", self.tick()))


@pytest.fixture
def threads() -> Iterator[Threads]:
    with ThreadPoolExecutor(1) as pool:
        yield Threads(pool, pool, pool)


class World:
    def __init__(self, threads: Threads) -> None:
        self.threads = threads
        self.table = FakeTable()
        self.health = Health(assigned=True)
        self.metrics = WorkerMetrics()
        self.parking = self.worker()

    def worker(self, limits: DeadLetterLimits = LIMITS) -> Parking:
        retry = Retrier(self.metrics, self.health)
        runtime = Runtime(self.threads, retry, self.metrics, self.health)
        return Parking(cast(ParkingTable, self.table), limits, runtime)

    def gauge(self) -> float | None:
        return self.metrics.registry.get_sample_value("usagepipe_parked_partitions")


@pytest.fixture
def world(threads: Threads) -> World:
    return World(threads)


def batch(first: int, last: int) -> Batch:
    records = cast(list[Record], [FakeRecord(n) for n in range(first, last + 1)])
    return Batch.of(PARTITION, first, last, (DecodedBatch.of(records),))


def excess_of(parking: Parking, first: int, last: int) -> Parked | None:
    """Have a batch judged that is refused whole; its parking, if it passes a limit."""
    records = batch(first, last).records()
    rejected = tuple(Rejected(record, "not_json", "no JSON") for record in records)
    try:
        parking.check(batch(first, last), TOPIC_ID, Rows(b"", [], [], rejected))
    except ParkedError as error:
        return error.parked
    return None


async def begin(parking: Parking, position: int) -> Parked | None:
    return await parking.begin(PARTITION, TOPIC_ID, position)


async def park(world: World, first: int = 0, last: int = 19) -> Parked:
    await begin(world.parking, first)
    parked = excess_of(world.parking, first, last)
    assert parked is not None
    await world.parking.park(parked)
    return parked


async def test_a_parking_is_noted_and_shown(world: World) -> None:
    """In the table, on the health page and in the metric, until the worker leaves the partition."""
    parked = await park(world)
    shown = (world.health.state, world.gauge())

    world.parking.leave(PARTITION)

    assert ("degraded", 1) == shown
    assert ("running", 0) == (world.health.state, world.gauge())
    assert world.table.notes.parked is not None
    assert parked.range == world.table.notes.parked.range


async def test_a_parking_is_shown_only_when_it_can_be_released(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note is stored before the health shows the partition: a release needs it."""
    shown: list[object] = []
    park_in_table = world.table.park

    def noted(parked: Parked) -> None:
        shown.extend(world.health.parked)
        park_in_table(parked)

    monkeypatch.setattr(world.table, "park", noted)
    await park(world)

    assert [] == shown
    assert [PARTITION] == list(world.health.parked)


async def test_the_next_owner_parks_without_judging_the_range_again(world: World) -> None:
    """Its own count would start at zero and allow as many dead letters as the limit."""
    parked = await park(world)

    taken = await begin(world.worker(), 0)

    assert taken is not None
    assert (parked.range, parked.since) == (taken.range, taken.since)


@pytest.mark.parametrize(("position", "stands"), [(0, True), (19, True), (20, False)])
async def test_a_group_that_is_past_the_range_is_not_parked(
    world: World, position: int, *, stands: bool
) -> None:
    """Somebody may have moved its offset on."""
    await park(world)

    taken = await begin(world.worker(), position)

    assert stands == (taken is not None)
    assert stands == (world.table.notes.parked is not None)


async def test_a_worker_with_other_limits_judges_the_range_itself(world: World) -> None:
    """It counts on from what was counted before the range."""
    await park(world)
    higher, lower = DeadLetterLimits(run=100, ratio=1.0), DeadLetterLimits(run=19, ratio=1.0)

    assert await begin(world.worker(lower), 0) is None
    judged = world.worker(lower)
    await begin(judged, 0)

    assert excess_of(judged, 0, 19) is not None
    generous = world.worker(higher)
    assert await begin(generous, 0) is None
    assert excess_of(generous, 0, 19) is None


async def test_a_retry_judges_once(world: World) -> None:
    """The range is parked again, since the first time, and waits for another decision."""
    parked = await park(world)
    before = await world.parking.is_released(parked)
    world.table.decide(Mode.RETRY, 0, 19)

    released = await world.parking.is_released(parked)
    again = excess_of(world.parking, 0, 19)
    assert again is not None
    await world.parking.park(again)

    assert (False, True) == (before, released)
    assert (parked.since, parked.report) == (again.since, again.report)
    assert not await world.parking.is_released(again)
    assert await begin(world.worker(), 0) is not None


async def test_released_letters_do_not_count_and_what_follows_counts_from_zero(
    world: World,
) -> None:
    """Also for an owner that begins in the middle of the released range."""
    parked = await park(world)
    world.table.decide(Mode.LETTERS, 0, 29)

    released = await world.parking.is_released(parked)
    within = [excess_of(world.parking, 0, 19), excess_of(world.parking, 20, 39)]
    later = world.worker()
    assert await begin(later, 15) is None

    assert (True, [None, None]) == (released, within)
    assert [None, None] == [excess_of(later, 15, 29), excess_of(later, 30, 39)]
    assert excess_of(later, 40, 40) is not None


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_decision_about_another_range_is_none(world: World, mode: Mode) -> None:
    """Its partition was parked before, or is a later stretch of the log."""
    parked = await park(world, 100, 119)

    world.table.decide(mode, 0, 99)

    assert not await world.parking.is_released(parked)


async def test_a_decision_from_before_the_parking_is_none(world: World) -> None:
    """It was about an earlier time that the range was judged."""
    world.table.decide(Mode.RETRY, 0, 19)

    parked = await park(world)

    assert not await world.parking.is_released(parked)


async def test_a_row_that_clickhouse_refuses_counts(world: World) -> None:
    """One more than the limit parks the partition before its dead letter is sent."""
    await begin(world.parking, 0)
    letters = [Rejected(FakeRecord(n), "refused_by_clickhouse", "VIOLATED") for n in range(11)]
    for n, letter in enumerate(letters[:10]):
        world.parking.refuse(batch(n, n), TOPIC_ID, letter)

    with pytest.raises(ParkedError) as raised:
        world.parking.refuse(batch(10, 10), TOPIC_ID, letters[10])

    assert "refused_by_clickhouse 1" in raised.value.parked.why
    assert "11 in a row, and USAGEPIPE_DEAD_LETTER_RUN is 10" in raised.value.parked.why


async def test_a_committed_range_is_not_parked_any_more(world: World) -> None:
    """A note may outlive its parking by a crash: the group's offset decides."""
    await park(world)
    notes = {3: world.table.notes}

    assert [[3], [3], []] == [
        list(parked_now(notes, committed)) for committed in ({}, {3: 19}, {3: 20})
    ]

"""One run of one contestant: from its start until the last event of the topic is a row.

The rate is taken between two moments at which rows were seen, the first and the last, so that
neither the start of an interpreter nor the first, half-filled fetch counts. The wall time from the
start of the process stands beside it.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final, Self

from benchmarks.contestants import CONTESTANTS
from benchmarks.processes import cpu_seconds, peak_mebibytes
from benchmarks.world import ROOT, World
from tests.support.programs import Program, as_environment, clean_environment
from usagepipe.schemas import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

POLL_SECONDS: Final = 0.05
_NUMBERS: Final = count()
LIMIT_SECONDS: Final = 60.0  # and a second more for each thousand events


@dataclass(frozen=True, slots=True)
class Drain:
    """What one run came to. Microseconds are of processor time for each event, less the start's."""

    contestant: str
    events: int
    rate: float  # events a second, from the first row seen to the last
    wall_seconds: float  # from the start of the process to the last row
    first_row_seconds: float  # from the start of the process to the first row
    client_us: float
    clickhouse_us: float
    kafka_us: float
    peak_mebibytes: float
    rows: int
    distinct: int
    rollup_requests: int

    @property
    def exact(self) -> bool:
        """Whether every event is stored once, in raw and in the rollup."""
        return self.events == self.rows == self.distinct == self.rollup_requests


@contextmanager
def running(world: World, name: str, settings: Settings) -> Iterator[list[Program]]:
    """The contestant's processes; killed at the end."""
    environment = clean_environment() | as_environment(settings) | {"PYTHONPATH": str(ROOT)}
    label = f"{settings.group}-{name}-{next(_NUMBERS)}"
    programs = [
        Program(command, environment, world.folder, f"{label}-{index}")
        for index, command in enumerate(CONTESTANTS[name].commands(world, settings))
    ]
    try:
        yield programs
    finally:
        for program in programs:
            program.kill()


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of processor time, of the contestant and of each server."""

    client: float = 0
    clickhouse: float = 0
    kafka: float = 0

    @classmethod
    def now(cls, world: World, programs: Iterable[Program]) -> Self:
        """All so far."""
        return cls(
            cpu_seconds(program.pid for program in programs),
            cpu_seconds([world.clickhouse.pid]),
            cpu_seconds([world.kafka.pid]),
        )

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(
            self.client - other.client,
            self.clickhouse - other.clickhouse,
            self.kafka - other.kafka,
        )


def start_cost(world: World, name: str, seconds: float) -> Spent:
    """What the contestant spends to start and to find that its topic is empty.

    `seconds` is how long it is given for that; after 0 nothing is run.
    """
    if not seconds:
        return Spent()
    with world.database(world.topic()) as (settings, _):
        before = Spent.now(world, ())
        with running(world, name, settings) as programs:
            time.sleep(seconds)
            return Spent.now(world, programs) - before


def drain(world: World, name: str, events: int, start: Spent) -> Drain:
    """Let the contestant drain the topic's `events` into an empty database.

    `start` is its `start_cost`, which is no cost of an event.

    Raises:
        AssertionError: it ended by itself, or took too long; with the end of what it said.
    """
    wanted = min(events, CONTESTANTS[name].at_most)
    with world.database() as (settings, database):
        CONTESTANTS[name].commands(world, settings)  # what must be prepared is, before the clock
        before = Spent.now(world, ())
        began = time.monotonic()
        with running(world, name, settings) as programs:
            first, first_rows = _wait_for(database, 1, programs)
            last, last_rows = _wait_for(database, wanted, programs)
            spent = Spent.now(world, programs) - before - start
            peak = peak_mebibytes(program.pid for program in programs)
        rows, distinct, requests = _settled(database)
    # All may have come at once: then there is no rate but that of the whole time.
    steady = (last_rows - first_rows) / (last - first) if last_rows > first_rows else 0
    return Drain(
        contestant=name,
        events=rows if wanted < events else wanted,  # a slow one is stopped anywhere behind
        rate=steady or wanted / (last - began),
        wall_seconds=last - began,
        first_row_seconds=first - began,
        client_us=spent.client / last_rows * 1e6,
        clickhouse_us=spent.clickhouse / last_rows * 1e6,
        kafka_us=spent.kafka / last_rows * 1e6,
        peak_mebibytes=peak,
        rows=rows,
        distinct=distinct,
        rollup_requests=requests,
    )


def _wait_for(client: "Client", rows: int, programs: list[Program]) -> tuple[float, int]:
    """The moment at which at least so many rows were seen, and how many it were."""
    deadline = time.monotonic() + limit_seconds(rows)
    while (found := count_rows(client)) < rows:
        ended = [program for program in programs if program.status is not None]
        assert not ended, ended[0].tail()
        assert time.monotonic() < deadline, f"{found} of {rows} rows\n{programs[0].tail()}"
        time.sleep(POLL_SECONDS)
    return time.monotonic(), found


def limit_seconds(events: int) -> float:
    """How long so many events may take before something must be wrong."""
    return LIMIT_SECONDS + events / 1_000


def count_rows(client: "Client") -> int:
    """Rows of the raw table at this moment."""
    return int(client.command("SELECT count() FROM usage_events"))  # type: ignore[arg-type]


def _settled(client: "Client") -> tuple[int, int, int]:
    """Rows, distinct ids and requests of the rollup, when no insert is under way any more."""
    found = _sums(client)
    while True:
        time.sleep(4 * POLL_SECONDS)
        again = _sums(client)
        if again == found and again[0] == again[2]:
            return again
        found = again


def _sums(client: "Client") -> tuple[int, int, int]:
    ((rows, distinct),) = client.query(
        "SELECT count(), uniqExact(event_id) FROM usage_events"
    ).result_rows
    ((requests,),) = client.query("SELECT sum(requests) FROM rollup_usage_15m").result_rows
    return rows, distinct, requests

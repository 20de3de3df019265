"""Who drains the topic: the worker, the ways to do without it, and the ceiling."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers import python_of
from benchmarks.prepared import prepare
from benchmarks.world import TOPIC, World
from tests.support.programs import BIN
from usagepipe.schemas import Settings

Command = list[str]
_HERE: Final = sys.executable


@dataclass(frozen=True, slots=True)
class Contestant:
    """How to start the processes that drain the topic."""

    title: str
    commands: Callable[[World, Settings], list[Command]]
    at_most: int = 1 << 62  # events: a slow one drains only so many


def _worker(world: World, settings: Settings) -> list[Command]:
    return [[str(BIN / "usagepipe"), "worker", "--web-port", "0"]]


def _without_prices(world: World, settings: Settings) -> list[Command]:
    return [
        ["env", "USAGEPIPE_COST=reported-only", *command] for command in _worker(world, settings)
    ]


def _unguarded(world: World, settings: Settings) -> list[Command]:
    return [[_HERE, "-m", "benchmarks.programs.unguarded_worker", "--web-port", "0"]]


def _insert_alone(world: World, settings: Settings) -> list[Command]:
    # Another topic than the filled one is empty, and so is what is made of it.
    bodies = prepare(world, settings) if settings.topic == TOPIC else _empty(world)
    arguments = [str(bodies), str(settings.inserts)]
    return [[_HERE, "-m", "benchmarks.programs.insert_alone", *arguments]]


def _empty(world: World) -> Path:
    folder = world.folder / "no-bodies"
    folder.mkdir(exist_ok=True)
    return folder


def _loops(
    program: str, rows: int, processes: int = 1, peer: str = ""
) -> Callable[[World, Settings], list[Command]]:
    def commands(world: World, settings: Settings) -> list[Command]:
        python = str(python_of(peer)) if peer else _HERE
        address = settings.clickhouse_address
        place = {
            "kafka": settings.kafka,
            "topic": settings.topic,
            "group": settings.group,
            "host": address.host,
            "port": address.port,
            "database": address.database,
            "rows": rows,
            "shares": processes,
        }
        options = [f"--{name}={value}" for name, value in place.items()]
        start = [python, "-m", f"benchmarks.programs.{program}", *options]
        return [[*start, f"--share={number}"] for number in range(processes)]

    return commands


CONTESTANTS: Final = {
    "worker": Contestant("usagepipe worker, everything on", _worker),
    "without-prices": Contestant("the same without prices", _without_prices),
    "unguarded": Contestant("the same without announce, fence and verification", _unguarded),
    "bare-1": Contestant("bare loop, one process", _loops("bare_loop", 100_000)),
    "bare-2": Contestant("bare loops, two processes", _loops("bare_loop", 50_000, processes=2)),
    "faust": Contestant("stock Faust, `stream.take`", _loops("stock_faust", 10_000), 50_000),
    "arroyo": Contestant("sentry-arroyo", _loops("arroyo_consumer", 50_000, peer="arroyo")),
    "quixstreams": Contestant(
        "quixstreams", _loops("quixstreams_consumer", 100_000, peer="quixstreams")
    ),
    "insert": Contestant("the insert alone, no Kafka", _insert_alone),
}

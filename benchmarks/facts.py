"""What a number means nothing without: the machine, the versions, the day and the seed."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.peers import PEERS, version_of
from benchmarks.places import file_system_of
from benchmarks.world import PARTITIONS, ROOT, TOPIC, Plan, World
from tests.support.kafka_jars import kafka_version
from tests.support.worker import end_offsets
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.client import connect

LIBRARIES: Final = (
    "usagepipe",
    "aiokafka",
    "chdb",
    "clickhouse-connect",
    "confluent-kafka",
    "faust-streaming",
    "msgspec",
    "pydantic",
)


def facts(world: World, plan: Plan) -> dict[str, Any]:
    """The facts of a run, as they go into its results."""
    settings = Settings.load(kafka=world.kafka.bootstrap, topic=TOPIC)
    ends = end_offsets(settings).values()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _line("/proc/cpuinfo", "model name"),
        "memory": _line("/proc/meminfo", "MemTotal"),
        "data_on": file_system_of(world.folder),
        "system": platform.platform(),
        "python": platform.python_version(),
        "kafka": f"Apache Kafka {kafka_version()} on the JVM, one broker",
        "clickhouse": f"chDB over HTTP, ClickHouse {_clickhouse_version(world)}",
        "libraries": {name: version(name) for name in LIBRARIES}
        | {PEERS[name]: version_of(name) for name in PEERS},
        "events": plan.events,
        "rounds": plan.rounds,
        "seed": plan.seed,
        "pareto_shape": plan.shape,
        "partitions": PARTITIONS,
        "largest_partition": round(max(ends) / sum(ends), 3),
        "bytes_of_an_event": _bytes_of_an_event(),
    }


def _bytes_of_an_event() -> int:
    from benchmarks.events import usage_events
    from usagepipe.schemas import encode

    sizes = [len(encode(event)) for event in usage_events(100, 1, 1.2)]
    return round(sum(sizes) / len(sizes))


def _clickhouse_version(world: World) -> str:
    address = Settings.load(clickhouse=world.clickhouse.url).clickhouse_address
    with connect(address) as client:
        return str(client.server_version)


def _line(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"

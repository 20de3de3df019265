"""Where everything is measured: one Apache Kafka, one ClickHouse, one topic filled once.

Every run gets a group and a database of its own, because event ids and tokens that another run
has stored would change what this one costs.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.events import fill, usage_events
from tests.support.apache_kafka import ApacheKafka
from tests.support.topics import make_topics
from usagepipe.local import LocalClickHouse
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ROOT: Final = Path(__file__).parents[1]
PARTITIONS: Final = 8
TOPIC: Final = "bench.filled.v1"
WAIT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the benchmarks is asked for."""

    events: int
    rounds: int
    seed: int
    shape: float  # of the Pareto distribution of keys
    start_seconds: float  # given to each contestant to start, once, to learn what a start costs
    contestants: tuple[str, ...]
    measures: tuple[str, ...]


class World:
    """The servers and the filled topic of one run."""

    def __init__(self, folder: Path, kafka: ApacheKafka, clickhouse: LocalClickHouse) -> None:
        self.folder: Final = folder
        self.kafka: Final = kafka
        self.clickhouse: Final = clickhouse
        self._numbers = count(1)

    @contextmanager
    def database(self, topic: str = TOPIC) -> Iterator[tuple[Settings, "Client"]]:
        """Default settings on a group nobody used and a freshly migrated database."""
        number = next(self._numbers)
        settings = Settings.load(
            kafka=self.kafka.bootstrap,
            topic=topic,
            group=f"bench-{number}",
            clickhouse=f"{self.clickhouse.url}/bench_{number}",
        )
        migrate(settings, wait_seconds=WAIT_SECONDS)
        with connect(settings.clickhouse_address) as client:
            yield settings, client
            client.command(f"DROP DATABASE {settings.clickhouse_address.database} SYNC")

    def topic(self) -> str:
        """A topic of this name's own, empty."""
        name = f"bench.{next(self._numbers)}.v1"
        make_topics(self.kafka.bootstrap, name, PARTITIONS)
        return name


@contextmanager
def world(folder: Path, plan: Plan) -> Iterator[World]:
    """Servers that run and a topic that holds the plan's events, as long as the context is open."""
    with ExitStack() as servers:
        kafka = servers.enter_context(ApacheKafka(folder / "kafka"))
        clickhouse = servers.enter_context(LocalClickHouse(folder / "clickhouse"))
        make_topics(kafka.bootstrap, TOPIC, PARTITIONS)
        fill(kafka.bootstrap, TOPIC, usage_events(plan.events, plan.seed, plan.shape))
        yield World(folder, kafka, clickhouse)

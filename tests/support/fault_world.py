"""A worker between Kafka and a ClickHouse that fails on request, and what it shows."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.clickhouse_server import local_clickhouse
from tests.support.faulty_proxy import FaultyProxy
from tests.support.programs import Program, Programs, as_environment
from tests.support.topics import make_topics, send
from tests.support.waiting import eventually
from tests.support.worker import free_web_port
from usagepipe.local import LocalClickHouse
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PARTITIONS = 4
SECONDS = 60
INSERT_SECONDS = 2  # what is slower counts as an outage
BATCH_ROWS = 5_000


@dataclass(frozen=True)
class Watched:
    """A running worker and its web page."""

    program: Program
    web_port: int

    def health(self) -> tuple[int, dict[str, Any]]:
        """The status and the report of `/health`; (0, {}) while nobody answers."""
        try:
            status, text = self._page("health")
        except OSError:
            return 0, {}
        return status, json.loads(text)

    def trouble(self) -> dict[str, Any]:
        """What `/health` reports about failing inserts; {} while none fails."""
        _, report = self.health()
        trouble: dict[str, Any] = report.get("troubles", {}).get("clickhouse", {})
        return trouble

    def is_running(self) -> bool:
        """Whether `/health` reports no problem."""
        status, report = self.health()
        return status == 200 and report["state"] == "running"

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        _, text = self._page("metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def memory_mib(self, which: str = "VmRSS") -> int:
        """The memory of the worker; `VmHWM` is its peak."""
        status = Path(f"/proc/{self.program.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith(which))
        return int(line.split()[1]) // 1024

    def _page(self, page: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/{page}") as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@dataclass(frozen=True)
class FaultWorld:
    """Servers, a proxy before ClickHouse, and workers that reach it through the proxy."""

    settings: Settings  # as the workers have them
    clickhouse: LocalClickHouse
    client: "Client"  # not through the proxy
    proxy: FaultyProxy
    programs: Programs

    def start_worker(self) -> Watched:
        """A worker; others may run already. Returns when it holds partitions."""
        port = free_web_port()
        environment = as_environment(self.settings) | {"USAGEPIPE_WEB_PORT": str(port)}
        worker = Watched(self.programs("worker", environment=environment), port)
        eventually(lambda: worker.health()[1].get("partitions"), SECONDS, worker.program.tail)
        return worker

    def send(self, user: str, count: int) -> None:
        """Put events of a user on the topic, one token each."""
        send(self.settings.kafka, self.settings.topic, events_of(user, count))

    def stored(self, user: str) -> dict[str, int]:
        """How many events of the user each place holds, and how many ids raw has of them."""
        raw, ids = self._row(
            f"SELECT count(), uniqExact(event_id) FROM usage_events WHERE user_id = '{user}'"
        )
        found = {"usage_events": raw, "ids": ids}
        for table in ("rollup_usage_15m", "rollup_usage_1d"):
            (found[table],) = self._row(
                f"SELECT sum(requests) FROM {table} WHERE user_id = '{user}'"
            )
        return found

    def await_stored(self, user: str, count: int, worker: Watched) -> None:
        """Return when all of the user's events are in raw and in the rollups."""
        eventually(
            lambda: min(self.stored(user).values()) >= count,
            SECONDS,
            lambda: f"{count} events: {self.stored(user)}\n{worker.program.tail()}",
        )

    def _row(self, sql: str) -> tuple[int, ...]:
        (row,) = self.client.query(sql).result_rows
        return tuple(row)


def all_of(count: int) -> dict[str, int]:
    """What `stored` finds when each of `count` events is stored once."""
    return dict.fromkeys(("usage_events", "ids", "rollup_usage_15m", "rollup_usage_1d"), count)


def events_of(user: str, count: int) -> Iterable[bytes]:
    """Events of one user, one token each."""
    for _ in range(count):
        yield encode(UsageEvent.new(user_id=user, total_tokens=1))


@contextmanager
def fault_world(folder: Path, kafka: str, name: str) -> Iterator[FaultWorld]:
    """A topic, a group and tables of one's own, for as long as the context is open.

    Raises:
        NoServerError: there is no ClickHouse that may be killed.
    """
    with local_clickhouse(folder / "clickhouse") as clickhouse:
        direct = Settings.load(kafka=kafka, topic=name, clickhouse=f"{clickhouse.url}/faults")
        migrate(direct, wait_seconds=SECONDS)
        make_topics(kafka, name, PARTITIONS)
        proxy = FaultyProxy(direct.clickhouse_address.port)
        programs = Programs(folder)
        settings = Settings.load(
            kafka=kafka,
            topic=name,
            group=name,
            clickhouse=f"http://127.0.0.1:{proxy.port}/faults",
            batch_rows=BATCH_ROWS,
            insert_seconds=INSERT_SECONDS,
            session_seconds=6,
        )
        with connect(direct.clickhouse_address) as client:
            try:
                yield FaultWorld(settings, clickhouse, client, proxy, programs)
            finally:
                programs.end()
                proxy.close()

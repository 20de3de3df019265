"""Runs workers through what can happen to them, seeded, and compares what was sent with what is
stored: raw rows, distinct ids, sums of tokens and cost, and every rollup.
"""

import random
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from tests.support.cutting_proxy import CuttingProxy
from tests.support.ports import lasting_port
from tests.support.programs import Program, as_environment, clean_environment
from tests.support.waiting import eventually
from tests.support.worker import committed, end_offsets
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.clickhouse.client import connect

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SESSION_SECONDS = 6
SETTLE_SECONDS = 120
CRIPPLED = Path(__file__).with_name("crippled_worker.py")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sums:
    """What a place holds."""

    rows: int
    ids: int
    tokens: int
    cost: Decimal


@dataclass
class Chaos:
    """One run. `missing` names the guarantee that is taken away ("nothing": none)."""

    seed: int
    settings: Settings  # of the servers themselves
    folder: Path
    events: int = 30_000
    workers: int = 3
    seconds: float = 45.0
    missing: str = "nothing"
    kill_clickhouse: Any = None
    start_clickhouse: Any = None
    done: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._programs: list[Program | None] = [None] * self.workers
        self._started = 0
        address = self.settings.clickhouse_address
        self._proxy = CuttingProxy(address.port, random.Random(self.seed + 1))
        self._proxy.most_delay = 0.3
        self._sent = Sums(0, 0, 0, Decimal(0))

    def run(self) -> tuple[Sums, dict[str, Sums]]:
        """What was sent, and what each place holds in the end."""
        sender = threading.Thread(target=self._send)
        sender.start()
        try:
            for number in range(self.workers):
                self._start(number)
            self._disturb()
            sender.join()
            self._settle()
        finally:
            for program in self._programs:
                if program is not None:
                    program.kill()
            self._proxy.close()
        with connect(self.settings.clickhouse_address, wait_seconds=30) as client:
            return self._sent, stored(client)

    def _disturb(self) -> None:
        actions = [self._kill, self._kill, self._stop, self._pause, self._cut, self._cut]
        if self.kill_clickhouse is not None:
            actions.append(self._crash_clickhouse)
        deadline = time.monotonic() + self.seconds
        time.sleep(3)  # the workers' start
        while time.monotonic() < deadline:
            action = self._rng.choice(actions)
            self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
            action(self._rng.randrange(self.workers))
            time.sleep(self._rng.uniform(0.5, 3.0))  # a worker needs about 2 s to begin

    def _kill(self, number: int) -> None:
        program = self._programs[number]
        if program is not None:
            program.kill()
        self._start(number)

    def _stop(self, number: int) -> None:
        program = self._programs[number]
        if program is not None:
            program.send_signal(signal.SIGTERM)
            with suppress(AssertionError):
                program.wait(30)
            program.kill()
        self._start(number)

    def _pause(self, number: int) -> None:
        """A zombie: stopped past its session, and woken up when others have its partitions."""
        program = self._programs[number]
        if program is not None and program.status is None:
            program.send_signal(signal.SIGSTOP)
            delay = SESSION_SECONDS + self._rng.uniform(0.5, 2.5)
            threading.Timer(delay, program.send_signal, (signal.SIGCONT,)).start()

    def _cut(self, number: int) -> None:
        self._proxy.probability = 0.5
        time.sleep(self._rng.uniform(0.2, 1.0))
        self._proxy.probability = 0.0

    def _crash_clickhouse(self, number: int) -> None:
        self.kill_clickhouse()
        time.sleep(self._rng.uniform(0.1, 1.5))
        self.start_clickhouse()

    def _start(self, number: int) -> None:
        self._started += 1
        environment = clean_environment() | as_environment(self.settings)
        address = self.settings.clickhouse_address
        environment |= {
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "USAGEPIPE_CLICKHOUSE": f"http://127.0.0.1:{self._proxy.port}/{address.database}",
            "USAGEPIPE_WEB_PORT": str(lasting_port()),
            "USAGEPIPE_SESSION_SECONDS": str(SESSION_SECONDS),
            # Borders differ from start to start: a range that is cut again is cut elsewhere.
            "USAGEPIPE_BATCH_ROWS": str(self._rng.randint(50, 900)),
            "USAGEPIPE_BATCH_SECONDS": str(self._rng.uniform(0.02, 0.3)),
            "USAGEPIPE_INSERT_SECONDS": "5",
        }
        command = [sys.executable, str(CRIPPLED), self.missing]
        name = f"worker-{number}-{self._started}"
        self._programs[number] = Program(command, environment, self.folder, name)

    def _send(self) -> None:
        producer = Producer(
            {"bootstrap.servers": self.settings.kafka, "enable.idempotence": True, "linger.ms": 5}
        )
        rng = random.Random(self.seed + 2)
        tokens, cost = 0, Decimal(0)
        pause = self.seconds / self.events
        for number in range(self.events):
            event = UsageEvent.new(
                user_id=f"user-{rng.randrange(20)}",
                api_key_id=f"key-{rng.randrange(50)}",
                model=rng.choice(["a", "b", "c"]),
                prompt_tokens=rng.randrange(10_000),
                total_tokens=rng.randrange(20_000),
                cost=Decimal(rng.randrange(10**6)).scaleb(-9),
                sequence=number + 1,
            )
            tokens += event.total_tokens
            cost += event.cost or 0
            producer.produce(self.settings.topic, encode(event), str(rng.random()))
            producer.poll(0)
            if number % 50 == 0:
                time.sleep(pause * 50)
        assert producer.flush(60) == 0
        self._sent = Sums(self.events, self.events, tokens, cost)

    def _settle(self) -> None:
        """Peace: the workers go on alone until everything is committed."""
        for number, program in enumerate(self._programs):
            if program is None or program.status is not None:
                self._start(number)
        eventually(
            lambda: committed(self.settings) == end_offsets(self.settings),
            SETTLE_SECONDS,
            lambda: (
                f"everything committed: {committed(self.settings)} of "
                f"{end_offsets(self.settings)}; see {self.folder}"
            ),
        )
        # What a zombie may still do, it does within its session and one insert.
        time.sleep(SESSION_SECONDS + 3)


def stored(client: "Client") -> dict[str, Sums]:
    """What raw and each rollup hold."""
    raw = client.query(
        "SELECT count(), uniqExact(event_id), sum(total_tokens), sum(cost) FROM usage_events"
    ).result_rows[0]
    found = {"usage_events": Sums(raw[0], raw[1], raw[2], raw[3] or Decimal(0))}
    for table in ("rollup_usage_15m", "rollup_usage_1d"):
        row = client.query(
            f"SELECT sum(requests), sum(total_tokens), sum(cost) FROM {table}"
        ).result_rows[0]
        found[table] = Sums(row[0], row[0], row[1], row[2] or Decimal(0))
    return found

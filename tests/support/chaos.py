"""Runs workers through what can happen to them, seeded, while events are sent, and compares what
was sent with what is stored in the end.

Actions are dealt like cards, each once before any comes again: a short run has them all, too.
"""

import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from clickhouse_connect.driver.exceptions import Error

from tests.support.chaos_balance import differences
from tests.support.chaos_points import MARK
from tests.support.chaos_traffic import Mixture, Traffic
from tests.support.chaos_world import FAILURES, SESSION_SECONDS, World, failing_view, refuse_poison
from tests.support.cutting_proxy import CuttingProxy
from tests.support.programs import Program
from tests.support.stored_prices import house_book, versions
from tests.support.waiting import eventually
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.price_books import apply_book
from usagepipe.schemas.errors import UsagePipeError

MOST_WORKERS: Final = 4
SETTLE_SECONDS: Final = 300
FED_BY_VIEWS: Final = ("rollup_usage_15m", "rollup_usage_1d", "usage_names")
POINTS: Final = (  # each worker dies at one of them sooner or later
    "before_announce=kill@0.004,before_commit=kill@0.002,after_announce=kill@0.008,"
    "before_letters=kill@0.01,after_letters=kill@0.02,before_insert=kill@0.002,"
    "during_insert=kill@0.01,after_insert=kill@0.01,after_refusal=kill@0.1,"
    "before_acknowledge=kill@0.01,after_acknowledge=kill@0.01"
)
# What a worker says when something is wrong that no chaos explains.
BAD_WORDS: Final = (
    "Traceback",
    "partition_worker_failed",
    "pending_range_changed",
    "committed_beyond_log",
    "announced_range_expired",
    "records_expired_unread",
)


class Crashable(Protocol):
    """A server that a test may kill; it finds its data again."""

    def kill(self) -> None: ...
    def start(self) -> None: ...


class Chaos:
    """One run. `done` counts what happened in it."""

    def __init__(
        self,
        seed: int,
        settings: Settings,
        folder: Path,
        mixture: Mixture,
        clickhouse: Crashable,
        kafka: Crashable,
    ) -> None:
        self._rng = random.Random(seed)
        self._settings = settings  # of the servers themselves
        self._clickhouse = clickhouse
        self._kafka = kafka
        proxy = CuttingProxy(settings.clickhouse_address.port, random.Random(seed + 1))
        proxy.most_delay = 0.2
        self._world = World(settings, folder, proxy)
        self._traffic = Traffic(settings, seed + 2, mixture, self._is_stored)
        self._mixture = mixture
        self._slots: list[Program | None] = [None] * MOST_WORKERS
        self._zombies: list[threading.Timer] = []
        self._deck: list[str] = []
        self._broker_crashes_left = 1 + int(mixture.seconds / 60)
        self._books = 0
        self.done: Counter[str] = Counter()

    def run(self) -> list[str]:
        """The differences at the end; empty if all is exact."""
        if self._mixture.poison:
            refuse_poison(self._settings)
        self._do_book()
        try:
            self._traffic.start()
            for number in range(3):
                self._start(number)
            time.sleep(3)  # the workers' start
            while self._traffic.flows:
                self._disturb()
            ledger = self._traffic.join()
            self._note("settle")
            self._settle()
            self._note("compare")
            self._count()
            return [*differences(self._settings, ledger), *self._bad_words()]
        finally:
            for zombie in self._zombies:
                zombie.cancel()
            self._world.end()

    # What is done to them, a card each.

    def _disturb(self) -> None:
        if not self._deck:
            self._deck = [
                *("kill", "stop", "pause", "cut", "cut", "join", "leave", "view"),
                *("clickhouse", "kafka", "book", "book"),
            ]
            self._rng.shuffle(self._deck)
        name = self._deck.pop()
        self.done[name] += 1
        self._note(name)
        getattr(self, f"_do_{name}")()
        time.sleep(self._rng.uniform(0.5, 3.0))  # a worker needs about 2 s to begin
        self._tend(POINTS)

    def _do_kill(self) -> None:
        if running := self._running():
            number = self._rng.choice(running)
            self._end(number)
            self._start(number)

    def _do_stop(self) -> None:
        if running := self._running():
            number = self._rng.choice(running)
            self._ask_to_end(number)
            self._start(number)

    def _do_pause(self) -> None:
        """A zombie: paused longer than its session, and resumed when others have its partitions."""
        if running := self._running():
            program = self._slots[self._rng.choice(running)]
            assert program is not None
            program.send_signal(signal.SIGSTOP)
            delay = SESSION_SECONDS + self._rng.uniform(0.5, 2.5)
            self._zombies.append(threading.Timer(delay, program.send_signal, (signal.SIGCONT,)))
            self._zombies[-1].start()

    def _do_join(self) -> None:
        if None in self._slots:
            self._start(self._slots.index(None))

    def _do_leave(self) -> None:
        running = self._running()
        if len(running) < 2:
            return
        number = self._rng.choice(running)
        if self._rng.random() < 0.5:
            self._ask_to_end(number)
        else:
            self._end(number)
        self._slots[number] = None

    def _do_cut(self) -> None:
        self._world.proxy.arm("before", self._rng.randint(1, 3))
        self._world.proxy.arm("after", self._rng.randint(1, 3))
        with suppress(AssertionError):  # nobody inserts for now
            eventually(lambda: not self._world.proxy.armed, 3)

    def _do_clickhouse(self) -> None:
        self._clickhouse.kill()
        time.sleep(self._rng.uniform(0.1, 1.5))
        self._clickhouse.start()

    def _do_kafka(self) -> None:
        if self._broker_crashes_left == 0:
            return  # its JVM takes long to start
        self._broker_crashes_left -= 1
        with self._traffic.calm:  # a transaction that a crash ends is aborted: workers read it
            self._kafka.kill()
            time.sleep(self._rng.uniform(0.1, 1.0))
            self._kafka.start()

    def _do_view(self) -> None:
        table, failure = self._rng.choice(FED_BY_VIEWS), self._rng.choice(list(FAILURES))
        with failing_view(self._settings, table, failure):
            time.sleep(self._rng.uniform(0.3, 1.5))

    def _do_book(self) -> None:
        """Other prices: what is announced keeps those before, in whichever process."""
        self._books += 1
        with connect(self._settings.clickhouse_address, wait_seconds=30) as client:
            apply_book(client, house_book(self._books), "chaos", "")

    # Workers.

    def _running(self) -> list[int]:
        return [n for n, program in enumerate(self._slots) if program and program.status is None]

    def _start(self, number: int, points: str = POINTS) -> None:
        rng = self._rng
        self._slots[number] = self._world.worker(
            points=points,
            seed=rng.randrange(2**32),
            # Borders differ from start to start: a range that is cut again is cut elsewhere.
            batch_rows=rng.randint(50, max(900, self._mixture.events // 60)),
            batch_seconds=rng.uniform(0.02, 0.3),
            cost=rng.choice(["reported-first", "reported-first", "prices-first"]),
        )

    def _end(self, number: int) -> None:
        program = self._slots[number]
        assert program is not None
        program.kill()

    def _ask_to_end(self, number: int) -> None:
        program = self._slots[number]
        assert program is not None
        program.send_signal(signal.SIGTERM)
        with suppress(AssertionError):
            program.wait(30)  # a paused one does not hear it
        program.kill()

    def _tend(self, points: str) -> None:
        """Restart the workers that died at a point."""
        for number, program in enumerate(self._slots):
            if program is not None and program.status is not None:
                self._start(number, points)

    def _settle(self) -> None:
        """No more faults: the workers continue until everything is committed, then end in order."""
        self._world.proxy.disarm()
        for zombie in self._zombies:
            zombie.join()  # awake: what it may still do, it does before it ends
        if not self._running():
            self._start(0, "")
        self._world.settle(SETTLE_SECONDS, lambda: self._tend(""))
        for number in self._running():
            self._ask_to_end(number)
        self._world.settle(5)

    # ClickHouse.

    def _is_stored(self, event_id: str) -> bool:
        try:
            with connect(self._settings.clickhouse_address) as client:
                ((count,),) = client.query(
                    "SELECT count() FROM usage_events WHERE event_id = {id:UUID}",
                    parameters={"id": event_id},
                ).result_rows
        except (UsagePipeError, Error, OSError):
            return False  # it is away, or went in the middle of the answer
        return bool(count)

    # Afterwards.

    def _note(self, name: str) -> None:
        """For who reads the workers' logs beside it."""
        print(f"{datetime.now(UTC):%H:%M:%S.%f} {name}")

    def _count(self) -> None:
        for when, count in self._world.proxy.cuts.items():
            self.done[f"cut {when}"] = count
        with connect(self._settings.clickhouse_address, wait_seconds=30) as client:
            self.done["books in rows"] = len(versions(client))
        for line in self._world.words():
            if line.startswith(MARK):
                self.done[line] += 1

    def _bad_words(self) -> list[str]:
        return [
            f"a worker said: {line[:300]}"
            for line in self._world.words()
            # The client logs a traceback of its own for an answer that breaks off.
            if any(word in line for word in BAD_WORDS) and "clickhouse_connect" not in line
        ]

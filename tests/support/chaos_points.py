"""Points of the worker's way at which a test ends or stops it, at exactly that moment.

They wrap the seams between the steps of the protocol. A plan is `NAME=ACTION#N` (the N-th time the
point is reached) or `NAME=ACTION@P` (each time with probability P), several with commas between.
A seam that is gone is an error: a point that is never reached would prove nothing.
"""

import functools
import inspect
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.consumer.group_coordinator import GroupCoordinator

from usagepipe.consumer.clickhouse.stored import StoredRows
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.dead_letters.producer import DeadLetterProducer
from usagepipe.consumer.kafka.thread import ChunkThread
from usagepipe.consumer.worker.committer import Committer

PLAN_VARIABLE: Final = "CHAOS_POINTS"
SEED_VARIABLE: Final = "CHAOS_SEED"
MARK: Final = "chaos_point"  # in the log of a worker that reached one

SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
STRIKE_SECONDS: Final = 1.0
IN_FLIGHT_SECONDS: Final = 0.05  # an insert is killed at a random moment of so many
REFUSED_CODE: Final = "Code: 469"  # VIOLATED_CONSTRAINT: what the chaos calls poison

# What each point lies between, in the order of a batch.
POINTS: Final = (
    "before_announce",
    "before_lookup",  # of events that are stored already
    "after_lookup",
    "before_commit",  # of anything: an announcement, an acknowledgement
    "in_commit",  # the fence has looked, the request is not sent yet
    "after_announce",
    "before_letters",
    "after_letters",
    "before_insert",
    "during_insert",
    "after_insert",
    "after_refusal",  # ClickHouse refused the batch for its content
    "before_acknowledge",
    "after_acknowledge",  # given to the committer, not committed yet
)


@dataclass(frozen=True, slots=True)
class Deed:
    """What happens at a point: the `nth` time (0: never so), or with `probability`."""

    action: str
    nth: int = 0
    probability: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Deed":
        if "#" in text:
            action, _, nth = text.partition("#")
            return cls(action, nth=int(nth))
        action, _, probability = text.partition("@")
        return cls(action, probability=float(probability))


class Points:
    """The plan of one process."""

    def __init__(self, plan: str, seed: int) -> None:
        self._deeds: dict[str, Deed] = {}
        for part in filter(None, plan.split(",")):
            name, _, deed = part.partition("=")
            assert name in POINTS, f"no point {name!r}: there are {', '.join(POINTS)}"
            self._deeds[name] = Deed.parse(deed)
        self._rng = random.Random(seed)
        self._passed: Counter[str] = Counter()

    def reach(self, name: str) -> None:
        """The process is at the point, and may end there."""
        if (deed := self._due(name)) is not None:
            os.write(2, f"{MARK} {name} {deed.action}\n".encode())
            os.kill(os.getpid(), SIGNALS[deed.action])
            time.sleep(STRIKE_SECONDS)  # this thread may run on until the signal has struck

    def reach_soon(self, name: str) -> None:
        """As `reach`, while what is called next is on its way."""
        if name in self._deeds:
            delay = self._rng.uniform(0, IN_FLIGHT_SECONDS)
            timer = threading.Timer(delay, self.reach, (name,))
            timer.daemon = True
            timer.start()

    def _due(self, name: str) -> Deed | None:
        deed = self._deeds.get(name)
        if deed is None:
            return None
        self._passed[name] += 1
        by_number = deed.nth == self._passed[name]
        return deed if by_number or self._rng.random() < deed.probability else None

    def put(self) -> None:
        """Wrap the worker's seams, also those that no point is planned for."""
        self._wrap(Committer, "announce", "before_announce", "after_announce")
        self._wrap(Committer, "acknowledge", "before_acknowledge", "after_acknowledge")
        self._wrap(ChunkThread, "_commit_as", "before_commit")
        self._wrap(GroupCoordinator, "_do_commit_offsets", "in_commit")
        self._wrap(StoredRows, "events", "before_lookup", "after_lookup")
        self._wrap(DeadLetterProducer, "send", "before_letters", "after_letters")
        self._wrap_insert()

    def _wrap(self, owner: type, method: str, before: str, after: str = "") -> None:
        original: Callable[..., Any] = getattr(owner, method)

        @functools.wraps(original)
        async def waited(*arguments: Any, **options: Any) -> Any:
            self.reach(before)
            answer = await original(*arguments, **options)
            if after:
                self.reach(after)
            return answer

        @functools.wraps(original)
        def called(*arguments: Any, **options: Any) -> Any:
            self.reach(before)
            answer = original(*arguments, **options)
            if after:
                self.reach(after)
            return answer

        setattr(owner, method, waited if inspect.iscoroutinefunction(original) else called)

    def _wrap_insert(self) -> None:
        original = Writer.insert

        @functools.wraps(original)
        def insert(*arguments: Any, **options: Any) -> Any:
            self.reach("before_insert")
            self.reach_soon("during_insert")
            try:
                answer = original(*arguments, **options)
            except Exception as error:
                if REFUSED_CODE in str(error) or "VIOLATED_CONSTRAINT" in str(error):
                    self.reach("after_refusal")
                raise
            self.reach("after_insert")
            return answer

        Writer.insert = insert  # type: ignore[method-assign]


def of_environment() -> Points:
    """The plan of the test for this process."""
    return Points(os.environ.get(PLAN_VARIABLE, ""), int(os.environ.get(SEED_VARIABLE, "0")))

"""Sends what a chaos run is about, seeded, and keeps the books of it: the ledger that all tables
are compared with in the end.
"""

import heapq
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from confluent_kafka import Message, Producer

from tests.support.chaos_world import POISON
from tests.support.hostile import HOSTILE
from tests.support.stored_prices import MODEL as PRICED
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.codec import decode
from usagepipe.schemas.errors import EventRejectedError

PARTITIONS: Final = 8
KEYS: Final = 64
BLOCK: Final = 50  # events between two looks at the clock; a transaction is one block
STRAY_AGE_SECONDS: Final = 10
FIRST_DAY: Final = datetime(2026, 1, 5, tzinfo=UTC)


def _is_refused(value: bytes | None) -> bool:
    try:
        decode(value)
    except EventRejectedError:
        return True
    return False


BAD: Final = tuple(
    value for value in HOSTILE.values() if _is_refused(value) and len(value or b"") < 12_000
)


@dataclass(frozen=True, slots=True)
class Mixture:
    """How many events are sent in how many seconds, and what is among them."""

    events: int
    seconds: float
    bad: int = 0  # records that are no event
    poison: int = 0  # events that the table refuses
    twice: int = 0  # sent again at once, or a little later
    spills: int = 0  # 500 events in a row sent again
    strays: int = 0  # sent again under another key, when the first is stored
    transactional: float = 0.0  # share of the blocks that are a transaction


@dataclass
class Ledger:
    """What was sent, and so must be stored."""

    records: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    failures: int = 0
    cost: Decimal = Decimal(0)  # of the events that say what they cost
    priced: int = 0  # events that do not, of a model that has a price
    ids: set[str] = field(default_factory=set)
    refused: set[bytes | None] = field(default_factory=lambda: set(BAD))  # each a dead letter

    def enter(self, event: UsageEvent) -> None:
        self.ids.add(str(event.event_id))
        self.prompt_tokens += event.prompt_tokens
        self.completion_tokens += event.completion_tokens
        self.total_tokens += event.total_tokens
        self.failures += event.failed
        self.cost += event.cost or 0
        self.priced += event.cost is None and event.model == PRICED


class Traffic:
    """One run of events. `calm` is held while a transaction is open: let the broker live then."""

    def __init__(
        self, settings: Settings, seed: int, mixture: Mixture, is_stored: Callable[[str], bool]
    ) -> None:
        self.ledger = Ledger()
        self.calm = threading.Lock()
        self.failures: list[str] = []
        self._settings = settings
        self._mixture = mixture
        self._is_stored = is_stored
        self._rng = random.Random(seed)
        self._plain = self._producer()
        self._transactional: Producer | None = None
        self._later: list[tuple[int, int, str, bytes]] = []  # due at that number of an event
        self._spill: list[tuple[str, bytes]] = []
        self._old: list[tuple[float, str, str, bytes]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def flows(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> Ledger:
        """Wait for the end of it."""
        self._thread.join()
        assert not self.failures, f"the sender failed: {self.failures[:3]}"
        return self.ledger

    def _run(self) -> None:
        try:
            self._send_all()
        except BaseException as error:
            self.failures.append(repr(error))

    def _producer(self, **more: str) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._settings.kafka,
                "enable.idempotence": True,
                "linger.ms": 5,
                "delivery.timeout.ms": 600_000,  # it outlives a broker's crash
                "reconnect.backoff.max.ms": 500,
                "transaction.timeout.ms": 600_000,
                **more,
            }
        )

    def _send_all(self) -> None:
        mixture, rng = self._mixture, self._rng
        begun = time.monotonic()
        for first in range(0, mixture.events, BLOCK):
            if rng.random() < mixture.transactional:
                self._send_transaction(first)
            else:
                self._send_block(self._plain, first)
            due = begun + mixture.seconds * (first + BLOCK) / mixture.events
            time.sleep(max(0.0, due - time.monotonic()))
        self._await_marks()
        for partition in range(PARTITIONS):  # the last record of each is none of a transaction
            event = self._event(mixture.events + partition)
            self.ledger.enter(event)
            self._send(self._plain, "", encode(event), partition)
        assert 0 == self._plain.flush(120), "the broker did not take everything"

    def _send_transaction(self, first: int) -> None:
        with self.calm:
            if self._transactional is None:
                self._transactional = self._transacting()
            self._transactional.begin_transaction()
            self._send_block(self._transactional, first)
            self._transactional.commit_transaction(30)

    def _await_marks(self) -> None:
        """A commit is answered before its marks stand in the log, where one could be the last."""
        if self._transactional is not None:
            self._transacting()

    def _transacting(self) -> Producer:
        """The one producer of transactions; the last one of its predecessor has ended by then."""
        producer = self._producer(**{"transactional.id": self._settings.topic})
        producer.init_transactions(30)
        return producer

    def _send_block(self, producer: Producer, first: int) -> None:
        for number in range(first, min(first + BLOCK, self._mixture.events)):
            self._send_one(producer, number)
            while self._later and self._later[0][0] <= number:
                _, _, key, value = heapq.heappop(self._later)
                self._send(producer, key, value)

    def _send_one(self, producer: Producer, number: int) -> None:
        mixture, rng = self._mixture, self._rng
        if self._falls(mixture.bad):
            self._send(producer, self._key(), rng.choice(BAD))
        poison = self._falls(mixture.poison)
        event, key = self._event(number, poison=poison), self._key()
        value = encode(event)
        self._send(producer, key, value)
        if poison:
            self.ledger.refused.add(value)
            return
        self.ledger.enter(event)
        if self._falls(mixture.twice):
            after = rng.choice([0, 0, rng.randrange(1, 3_000)])
            heapq.heappush(self._later, (number + after, self.ledger.records, key, value))
        self._respill(number, key, value)
        self._stray(producer, str(event.event_id), key, value)

    def _respill(self, number: int, key: str, value: bytes) -> None:
        if not self._mixture.spills:
            return
        self._spill.append((key, value))
        if len(self._spill) > 500:
            self._spill.pop(0)
        every = self._mixture.events // (self._mixture.spills + 1)
        if number % every == every - 1:
            for spilled in self._spill:
                heapq.heappush(self._later, (number, self.ledger.records, *spilled))

    def _stray(self, producer: Producer, event_id: str, key: str, value: bytes) -> None:
        """The same id in two partitions at once could be stored twice: known, and left out here."""
        if not self._falls(self._mixture.strays * 4):  # not every one of them is stored in time
            return
        self._old.append((time.monotonic() + STRAY_AGE_SECONDS, event_id, key, value))
        due, event_id, key, value = self._old[0]
        if time.monotonic() >= due:
            self._old.pop(0)
            if self._is_stored(event_id):
                self._send(producer, f"not-{key}", value)

    def _falls(self, count: int) -> bool:
        """Whether one of so many in all falls here."""
        return self._rng.random() < count / self._mixture.events

    def _key(self) -> str:
        return f"key-{self._rng.randrange(KEYS)}"

    def _event(self, number: int, *, poison: bool = False) -> UsageEvent:
        rng = self._rng
        prompt, completion = rng.randrange(10_000), rng.randrange(2_000)
        return UsageEvent.new(
            occurred_at=FIRST_DAY + timedelta(minutes=rng.randrange(3 * 24 * 60)),
            producer_id="chaos",
            sequence=number + 1,
            user_id=f"user-{rng.randrange(10)}",
            user_name=f"User {rng.randrange(10)}",
            api_key_id=f"key-{rng.randrange(5)}",
            model=POISON if poison else rng.choice([PRICED, "unpriced"]),
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            failed=rng.random() < 0.05,
            cost=None if rng.random() < 0.7 else Decimal(rng.randrange(10**6)).scaleb(-9),
        )

    def _send(self, producer: Producer, key: str, value: bytes | None, partition: int = -1) -> None:
        self.ledger.records += 1
        while True:
            try:
                producer.produce(
                    self._settings.topic, value, key, partition, on_delivery=self._delivered
                )
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)

    def _delivered(self, error: object, _: Message) -> None:
        if error is not None:
            self.failures.append(str(error))

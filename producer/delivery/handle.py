"""One librdkafka producer at a time: what is in it, what it refuses, and how to get it back.

A handle that Kafka will not serve again, or that got stuck, is replaced: `take_back` returns what
it held. Python hears of failures only (`delivery.report.only.error`), so what is delivered is what
was given to the handle and is neither in it nor reported.
"""

import json
import os
import time
from collections import deque
from contextlib import suppress
from functools import cache
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from usagepipe.producer.delivery.librdkafka import (
    Availability,
    IdentityWatch,
    LibraryLog,
    PartitionWatch,
    connection_steps,
    is_of_the_record,
    is_topic_unknown,
    producer_config,
)
from usagepipe.producer.delivery.spill import Record, is_event, number_of
from usagepipe.producer.process.native import Lock, Thread, sleep
from usagepipe.schemas.errors import AccessError
from usagepipe.schemas.settings import ProducerSettings

CONNECT_SECONDS: Final = 2.0  # for each step of the first connection, while all goes well
PURGE_SECONDS: Final = 5.0  # for the reports of what a handle gives up
DESTROY_SECONDS: Final = 0.2
OPEN_SECONDS: Final = 1.0  # between two attempts to make a producer
GIVEN: Final = 1  # the steps of a first connection begin with the first event
ACKNOWLEDGED: Final = 100  # and this is the last one
MAX_MARKS: Final = 1_000  # without a spill, an outage makes one each step

# What a handle that is given up reports of the events in it: they may be sent by another.
TAKEN_OVER: Final = (KafkaError._FATAL, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)

# librdkafka makes a handle under locks of the whole process. A child that is forked meanwhile would
# find them locked for ever, so a fork waits for the few milliseconds. That leaves OpenSSL's, which
# librdkafka's threads take for an instant when they first reconnect: in a child that is forked just
# then nothing is delivered, and its events wait in the spill for another process.
_making = Lock()


@cache
def _guard_forks() -> None:
    os.register_at_fork(
        before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release
    )


def _destroy(grave: list[Producer]) -> None:
    """Let go of the last reference. librdkafka waits for its threads then, and they may hang."""
    digger = Thread(grave.clear, "usagepipe-destroy")
    digger.start()
    digger.join(DESTROY_SECONDS)


class Refused(NamedTuple):
    """An event that Kafka will never take."""

    number: int  # 0 where it is not known
    error: str


class Handle:
    """A librdkafka producer, made with the first use. For one thread.

    What Kafka refuses for another reason than the record itself (authorization, say) is returned,
    and not `refused`. A gap record that is refused is gone: it is no event, and the numbers that
    are missing still tell of the loss.
    """

    def __init__(self, settings: ProducerSettings, *, patience_seconds: float) -> None:
        """`patience_seconds` is how long Kafka may take to acknowledge an event."""
        self.returned: deque[Record] = deque()  # came back, to be sent again
        self.refused: list[Refused] = []  # came back for good
        self._settings = settings
        self.acknowledged = 0  # events that Kafka has taken from any handle; whoever knows tells
        self._producer: Producer | None = None
        self._availability = Availability(settings)
        self._identity = IdentityWatch()
        self._patience_seconds = patience_seconds
        self._partitions = PartitionWatch(patience_seconds)
        self._is_stuck = False
        self._steps = 0  # of the first connection
        self._connect_until = 0.0
        self._given = 0
        self._marks: deque[tuple[float, int]] = deque()  # when how many had been given
        self._is_dead = False
        self._open_at = 0.0

    def __len__(self) -> int:
        """Events that are in the handle: queued, under way, or about to be reported."""
        return len(self._producer) if self._producer is not None else 0

    @property
    def is_dead(self) -> bool:
        """Whether Kafka will take nothing more from this handle."""
        return self._is_dead

    @property
    def is_stalled(self) -> bool:
        """Whether an event has waited for too long, in all or in one of the partitions."""
        is_late = self._is_stuck or self.age() > self._patience_seconds
        return is_late and bool(len(self)) and not self._is_connecting

    @property
    def _is_connecting(self) -> bool:
        """Whether a first connection may still come about: a broker that is cold or far away takes
        longer for that than for events, and so does a machine with too much to do."""
        return time.monotonic() < self._connect_until and not self._availability.is_in_trouble

    def _note_steps(self, steps: int, seconds: float) -> None:
        """Kafka is there, so what was given meanwhile gets some more time."""
        if steps > self._steps:
            self._steps, self._connect_until = steps, time.monotonic() + seconds

    def produce(self, record: Record) -> bool:
        """Queue `record`, or refuse it: it is too large. False: the queue is full, there is no
        producer yet, or this handle takes nothing more (`is_dead`)."""
        producer = self._producer or self._open()
        if producer is None:
            return False
        key, value = record
        try:
            producer.produce(self._settings.topic, value, key)
        except BufferError:
            return False
        except KafkaException as raised:
            error: KafkaError = raised.args[0]
            if is_of_the_record(error):
                self._refuse(record, error)
                return True
            # What librdkafka has learnt of the topic or of itself, it says of each record at once.
            self._is_dead = True
            self._tell(error)
            return False
        if not self._given and not self.acknowledged:
            self._note_steps(GIVEN, CONNECT_SECONDS)
        self._given += 1
        return True

    def serve(self, seconds: float, *, hurry: bool) -> None:
        """Take librdkafka's reports for `seconds`; in a `hurry` what lingers is sent at once."""
        producer = self._producer or self._open()
        if producer is None:
            sleep(seconds)
            return
        try:
            if hurry and len(producer):
                producer.flush(seconds)
            else:
                producer.poll(seconds)
        except KafkaException as error:
            self._failed(error.args[0])  # fatal ones are raised here, not told to `error_cb`
        if self.acknowledged:
            self._note_steps(ACKNOWLEDGED, self._patience_seconds)
        self._availability.delivered(self.acknowledged)

    def age(self) -> float:
        """For how many seconds at least the oldest event in the handle has been there."""
        now, settled = time.monotonic(), self._given - len(self)
        if len(self._marks) < MAX_MARKS and (not self._marks or self._marks[-1][1] < self._given):
            self._marks.append((now, self._given))
        while self._marks and self._marks[0][1] <= settled:
            self._marks.popleft()
        return now - self._marks[0][0] if self._marks else 0.0

    def take_back(self, *, go_on: bool = True) -> list[Record]:
        """All that is in the handle and in `returned`, in the order of their numbers.

        What was under way may have arrived nevertheless. To `go_on`, a new handle takes over.
        """
        retired = self._producer
        self._producer = None
        if go_on:
            self._open()
        if retired is not None:
            # Each comes back by _reported. This does not wait for librdkafka's threads, which may
            # hang: the client (2.16) takes its argument `blocking` the wrong way round.
            retired.purge()
            deadline = time.monotonic() + PURGE_SECONDS
            while (left := len(retired)) and time.monotonic() < deadline:
                with suppress(KafkaException):  # the fatal one that it may be given up for
                    retired.flush(0.1)
            self.refused += [Refused(0, "_PURGE_TIMED_OUT")] * left
            grave = [retired]
            del retired
            _destroy(grave)
        records = sorted(self.returned, key=number_of)
        self.returned.clear()
        self._is_dead = self._is_stuck = False  # that was the one that is gone
        return records

    def _open(self) -> Producer | None:
        """A new producer. None where there is no token or a file of the settings is gone: it is
        tried again after a while."""
        if time.monotonic() < self._open_at:
            return None
        try:
            return self._opened()
        except KafkaException as error:
            self._availability.failed(error.args[0], self.acknowledged)
        except (AccessError, ValueError) as error:
            self._availability.refused(error, self.acknowledged)
        self._open_at = time.monotonic() + OPEN_SECONDS
        return None

    def _opened(self) -> Producer:
        callbacks = {
            "on_delivery": self._reported,
            "error_cb": self._failed,
            "stats_cb": self._described,
        }
        config = producer_config(self._settings)  # may fetch a token: not under the lock
        with _making:
            _guard_forks()
            producer = Producer(config | callbacks, logger=LibraryLog())
        self._producer = producer
        self._steps = ACKNOWLEDGED if self.acknowledged else 0
        self._connect_until = 0.0
        self._given = 0
        self._marks.clear()
        self._partitions = PartitionWatch(self._patience_seconds)
        self._is_dead = self._is_stuck = False
        return producer

    def _reported(self, error: KafkaError, message: Message) -> None:
        record = message.key() or b"", message.value() or b""
        if is_of_the_record(error):
            self._refuse(record, error)
        else:
            self.returned.append(record)
            self._is_dead |= error.code() == KafkaError._FATAL
            self._tell(error)

    def _refuse(self, record: Record, error: KafkaError) -> None:
        if is_event(record):
            self.refused.append(Refused(number_of(record), str(error.name())))

    def _tell(self, error: KafkaError) -> None:
        """librdkafka says such a thing of each record, and nowhere else."""
        if error.code() not in TAKEN_OVER:
            self._availability.failed(error, self.acknowledged)

    def _failed(self, error: KafkaError) -> None:
        self._is_dead |= error.fatal()
        self._availability.failed(error, self.acknowledged)

    def _described(self, statistics: str) -> None:
        report, now = json.loads(statistics), time.monotonic()
        if self._given:
            self._note_steps(GIVEN + connection_steps(report), CONNECT_SECONDS)
        self._is_stuck = self._partitions.is_stuck(report, now)
        if len(self) and self._identity.is_refused(report, self.acknowledged, now):
            self._is_dead = True
        if len(self) and is_topic_unknown(report):
            unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
            self._availability.failed(unknown, self.acknowledged)

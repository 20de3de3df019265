"""One librdkafka producer at a time: what it holds, what Kafka refuses, how to take events back.

A producer that Kafka will not serve again, or that is stuck, is replaced: `take_back` returns what
it held. Python receives reports of failures only (`delivery.report.only.error`). So the delivered
events are those that were given to the producer, are not in it any more and were not reported.
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
    is_topic_unknown,
    producer_config,
)
from usagepipe.producer.delivery.spill import Record, is_event, number_of
from usagepipe.producer.process.native import Lock, Thread, sleep
from usagepipe.schemas.errors import AccessError
from usagepipe.schemas.settings import ProducerSettings

CONNECT_SECONDS: Final = 2.0  # for each step of the first connection, while there are no errors
RETRY_SECONDS: Final = 1.0  # pause after a refusal
PURGE_SECONDS: Final = 5.0  # for the reports of the events in a replaced producer
DESTROY_SECONDS: Final = 0.2
OPEN_SECONDS: Final = 1.0  # between two attempts to make a producer
GIVEN: Final = 1  # the first step of a first connection: an event was given
ACKNOWLEDGED: Final = 100  # the last step
MAX_MARKS: Final = 1_000  # without a spill, an outage adds one each step

# Sent again, such a record would be refused again. All other errors concern the client, the topic
# or the cluster: they are temporary, and no event is dropped because of them.
OF_THE_RECORD: Final = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
)
# Reported for events in a replaced producer, which another one may send.
TAKEN_OVER: Final = (KafkaError._FATAL, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)

# librdkafka makes a producer under process-wide locks. A child forked meanwhile would find them
# locked forever, so a fork waits these few milliseconds. OpenSSL's locks remain, which librdkafka's
# threads hold for an instant when they first reconnect: a child forked just then delivers nothing,
# and its events wait in the spill for another process.
_making = Lock()


@cache
def _guard_forks() -> None:
    os.register_at_fork(
        before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release
    )


def _destroy(grave: list[Producer]) -> None:
    """Drop the last reference, in a thread: librdkafka waits for its threads, which may hang."""
    digger = Thread(grave.clear, "usagepipe-destroy")
    digger.start()
    digger.ended.wait(DESTROY_SECONDS)


class Refused(NamedTuple):
    """An event that Kafka will never accept."""

    number: int  # 0: unknown
    error: str


class KafkaProducerHandle:
    """A librdkafka producer, made on first use. For one thread.

    If Kafka refuses an event for a reason outside the record (authorization, say), the event is in
    `returned`, not in `refused`. A refused gap record is dropped: it is no event, and the missing
    numbers still show the loss.
    """

    def __init__(self, settings: ProducerSettings, *, patience_seconds: float) -> None:
        """`patience_seconds` is how long Kafka may take to acknowledge an event."""
        self.returned: deque[Record] = deque()  # to be sent again
        self.refused: list[Refused] = []  # never to be sent again
        self.acknowledged = 0  # events that Kafka has acknowledged so far; set by the owner
        self._settings = settings
        self._availability = Availability(settings)
        self._identity = IdentityWatch()
        self._patience_seconds = patience_seconds
        self._open_at = 0.0
        self._resume_at = 0.0
        self._begin(None)

    def _begin(self, producer: Producer | None) -> None:
        """Continue with this producer (None: opened later), which knows nothing of the last."""
        self._producer = producer
        self._steps = ACKNOWLEDGED if self.acknowledged else 0  # of the first connection
        self._connect_until = 0.0
        self._given = 0
        self._marks: deque[tuple[float, int]] = deque()  # a moment, and the events given by then
        self._partitions = PartitionWatch(self._patience_seconds)
        self._is_stuck = False
        self.is_dead = False  # Kafka will accept nothing more from this producer

    def __len__(self) -> int:
        """Events in the producer: queued, in flight, or about to be reported."""
        return len(self._producer) if self._producer is not None else 0

    def pause(self) -> None:
        """Kafka has refused events: do not send again for `RETRY_SECONDS`."""
        self._resume_at = time.monotonic() + RETRY_SECONDS

    @property
    def is_paused(self) -> bool:
        return time.monotonic() < self._resume_at

    @property
    def is_stalled(self) -> bool:
        """Whether an event has waited too long, for all partitions or for one of them."""
        is_late = self._is_stuck or self.age() > self._patience_seconds
        # With a cold or distant broker, or on a busy machine, a first connection takes longer than
        # a delivery. While there are no errors, it may still succeed.
        is_connecting = time.monotonic() < self._connect_until
        may_connect = is_connecting and not self._availability.is_in_trouble
        return is_late and bool(len(self)) and not may_connect

    def _note_steps(self, steps: int, seconds: float) -> None:
        """The connection made progress, so waiting events get more time."""
        if steps > self._steps:
            self._steps, self._connect_until = steps, time.monotonic() + seconds

    def produce(self, record: Record) -> bool:
        """Queue `record`, or refuse it because it is too large. False: the queue is full, there is
        no producer yet, or this one accepts nothing more (`is_dead`)."""
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
            if error.code() in OF_THE_RECORD:
                self._refuse(record, error)
                return True
            # An error of the topic or the producer, which librdkafka now reports for each record.
            self.is_dead = True
            self._note_error(error)
            return False
        if not self._given and not self.acknowledged:
            self._note_steps(GIVEN, CONNECT_SECONDS)
        self._given += 1
        return True

    def serve(self, seconds: float, *, hurry: bool) -> None:
        """Take librdkafka's reports for `seconds`. In a `hurry`, send lingering events at once."""
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
            self._failed(error.args[0])  # fatal errors are raised here, not given to `error_cb`
        if self.acknowledged:
            self._note_steps(ACKNOWLEDGED, self._patience_seconds)
        self._availability.delivered(self.acknowledged)

    def age(self) -> float:
        """For how many seconds at least the oldest event has been in the producer."""
        now, settled = time.monotonic(), self._given - len(self)
        if len(self._marks) < MAX_MARKS and (not self._marks or self._marks[-1][1] < self._given):
            self._marks.append((now, self._given))
        while self._marks and self._marks[0][1] <= settled:
            self._marks.popleft()
        return now - self._marks[0][0] if self._marks else 0.0

    def take_back(self) -> list[Record]:
        """The events in the producer and in `returned`, in the order of their numbers.

        Events in flight may have arrived nevertheless. `produce` and `serve` open a new producer.
        """
        retired, self._producer = self._producer, None
        if retired is not None:
            # Each event is reported to _reported. This call does not wait for librdkafka's threads,
            # which may hang: the client (2.16) inverts its argument `blocking`.
            retired.purge()
            deadline = time.monotonic() + PURGE_SECONDS
            while (left := len(retired)) and time.monotonic() < deadline:
                with suppress(KafkaException):  # a fatal error may be the reason for this call
                    retired.flush(0.1)
            self.refused += [Refused(0, "_PURGE_TIMED_OUT")] * left
            grave = [retired]
            del retired
            _destroy(grave)
        records = sorted(self.returned, key=number_of)
        self.returned.clear()
        self._begin(None)
        return records

    def _open(self) -> Producer | None:
        """A new producer. None if there is no token, or if a file of the settings is missing: the
        next attempt is `OPEN_SECONDS` later."""
        if time.monotonic() < self._open_at:
            return None
        callbacks = {
            "on_delivery": self._reported,
            "error_cb": self._failed,
            "stats_cb": self._described,
        }
        try:
            config = producer_config(self._settings)  # may fetch a token: not under the lock
            with _making:
                _guard_forks()
                self._begin(Producer(config | callbacks, logger=LibraryLog()))
            return self._producer
        except KafkaException as error:
            self._availability.failed(error.args[0], self.acknowledged)
        except (AccessError, ValueError) as error:
            self._availability.refused(error, self.acknowledged)
        self._open_at = time.monotonic() + OPEN_SECONDS
        return None

    def _reported(self, error: KafkaError, message: Message) -> None:
        record = message.key() or b"", message.value() or b""
        if error.code() in OF_THE_RECORD:
            self._refuse(record, error)
        else:
            self.returned.append(record)
            self.is_dead |= error.code() == KafkaError._FATAL
            self._note_error(error)

    def _refuse(self, record: Record, error: KafkaError) -> None:
        if is_event(record):
            self.refused.append(Refused(number_of(record), str(error.name())))

    def _note_error(self, error: KafkaError) -> None:
        """Note an error that librdkafka reports with records only."""
        if error.code() not in TAKEN_OVER:
            self._availability.failed(error, self.acknowledged)

    def _failed(self, error: KafkaError) -> None:
        self.is_dead |= error.fatal()
        self._availability.failed(error, self.acknowledged)

    def _described(self, statistics: str) -> None:
        report, now = json.loads(statistics), time.monotonic()
        if self._given:
            self._note_steps(GIVEN + connection_steps(report), CONNECT_SECONDS)
        self._is_stuck = self._partitions.is_stuck(report, now)
        if len(self) and self._identity.is_refused(report, self.acknowledged, now):
            self.is_dead = True
        if len(self) and is_topic_unknown(report):
            unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
            self._availability.failed(unknown, self.acknowledged)

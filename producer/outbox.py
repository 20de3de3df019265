"""The events of one process on their way to Kafka: a number for each, a bounded queue, a thread.

An outbox belongs to the process that made it. librdkafka's threads do not survive a fork, so the
child makes an outbox of its own and must not even destroy the handle that it inherited.
"""

import os
import secrets
import socket
import time
from collections import deque
from threading import Event, Lock, Thread

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from usagepipe.producer.counters import Counters, CountersSnapshot, DropReason
from usagepipe.producer.faults import describe
from usagepipe.producer.librdkafka import Availability, IdentityWatch, LibraryLog, producer_config
from usagepipe.schemas.codec import StampingEncoder
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import Settings

log = structlog.get_logger()

POLL_SECONDS = 0.1  # how late a failure is seen, and how long close() waits for the thread
AGAIN_SECONDS = 0.5  # for events that have been waited for before
PURGE_SECONDS = 1.0  # for the reports of what a handle gives up

# A handle that Kafka will not serve again gives its events back under these codes.
TAKEN_OVER = (KafkaError._FATAL, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


def new_producer_id() -> str:
    """Names this process: host and pid for people, 64 random bits so that it never comes twice."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(8)}"


class Outbox:
    """Queues events for Kafka. All methods may be called from any thread of its process."""

    def __init__(self, settings: Settings, *, closed: bool = False) -> None:
        self.producer_id = new_producer_id()
        self.counters = Counters()
        self._settings = settings
        self._encoder = StampingEncoder(self.producer_id)
        self._availability = Availability(settings.kafka)
        self._identity = IdentityWatch()
        self._lock = Lock()  # keeps the numbers in the order of the queue
        self._closing = Lock()
        self._stopped = Event()
        self._thread: Thread | None = None
        self._producer: Producer | None = None
        self._retired: Producer | None = None  # whose events are taken over by the one above
        self._rescued: deque[tuple[bytes, bytes]] = deque()  # key and value, between the two
        self._refused = False
        self._giving_up = False
        self._closed = closed
        self._sequence = 0
        self._accepted = 0
        self._delivered = 0
        self._waited_for = 0  # of the accepted: a stop() has spent its time on them

    def put(self, event: UsageEvent) -> bool:
        """Queue `event`; False when it was dropped (and counted). Never blocks, never raises."""
        with self._lock:
            problem = self._queue(event)
        return problem is None or self._drop(*problem)

    def _queue(self, event: UsageEvent) -> tuple[DropReason, str] | None:
        if self._closed:
            return "closed", ""
        self._sequence += 1  # before anything can fail: a gap in the numbers tells of the loss
        try:
            key = (event.api_key_id or event.user_id).encode()
            value = self._encoder.encode(event, self._sequence)
        except Exception as error:
            return "invalid", describe(error)
        try:
            producer = self._producer or self._start()
            producer.produce(self._settings.topic, value, key)
        except Exception as error:
            return _produce_problem(error)
        self._accepted += 1
        return None

    def start(self) -> None:
        """Make the librdkafka handle now rather than with the first event. Never raises: a web
        application starts without it, and the first event tries again."""
        with self._lock:
            self._waited_for = 0  # an application that starts again may take its time again
            if self._producer is None and not self._closed:
                try:
                    self._start()
                except Exception as error:
                    log.error("outbox_start_failed", error=describe(error))

    def _start(self) -> Producer:
        self._producer = self._handle()
        self._thread = Thread(target=self._serve, name="usagepipe-outbox", daemon=True)
        self._thread.start()
        return self._producer

    def _handle(self) -> Producer:
        callbacks = {
            "on_delivery": self._not_delivered,
            "error_cb": self._kafka_failed,
            "stats_cb": self._kafka_reported,
        }
        return Producer(producer_config(self._settings) | callbacks, logger=LibraryLog())

    def _serve(self) -> None:
        """Hands librdkafka's reports to Python until the outbox is closed."""
        while not self._stopped.is_set() and (producer := self._producer) is not None:
            try:
                producer.poll(POLL_SECONDS)
                if self._refused:
                    self._renew()
                self._availability.delivered(self.delivered)
            except Exception as error:
                log.error("outbox_poll_failed", error=describe(error))
                self._stopped.wait(POLL_SECONDS)

    def _renew(self) -> None:
        """Send what Kafka refuses to take from this handle with a new one: no event is lost."""
        fresh = self._handle()
        with self._lock:
            self._retired, self._producer = self._producer, fresh
            self._refused = False
        if self._retired is not None:
            log.warning("kafka_refused_producer", events=len(self._retired))
            self._retired.purge()  # each comes back by _not_delivered
            self._retired.flush(PURGE_SECONDS)
        while self._rescued:
            key, value = self._rescued[0]  # stays until it is queued, so that it is always counted
            try:
                fresh.produce(self._settings.topic, value, key)
            except Exception as error:
                self._drop("delivery_failed", _produce_problem(error)[0])
            self._rescued.popleft()
        self._retired = None

    def flush(self, seconds: float) -> int:
        """Wait until all that is queued is delivered, `seconds` at most; how many are left."""
        deadline = time.monotonic() + seconds
        # In slices, so that a signal's handler in the main thread does not have to wait for all.
        while (producer := self._producer) is not None:
            slice_seconds = max(0.0, min(POLL_SECONDS, deadline - time.monotonic()))
            if not producer.flush(slice_seconds):
                if not self.queued:
                    return 0
                self._stopped.wait(slice_seconds)  # the rest is with another handle for a moment
            if time.monotonic() >= deadline:
                break
        return self.queued

    def stop(self, seconds: float) -> int:
        """`flush` at the application's end: the next `stop` or `close` will not wait again."""
        accepted = self._accepted
        left = self.flush(self.patience(seconds))
        self._waited_for = accepted if left else 0
        return left

    def patience(self, seconds: float) -> float:
        """`seconds`, or a moment while events are left that a `stop` has waited for in vain."""
        settled = self.delivered + self.counters.failed_deliveries
        return min(seconds, AGAIN_SECONDS) if settled < self._waited_for else seconds

    def close(self, seconds: float) -> int:
        """Refuse new events, deliver what is queued, give up the rest; how many were given up."""
        with self._closing:
            # 1. Refuse. What comes later is counted as `closed`.
            with self._lock:
                self._closed = True
            if self._producer is None:
                return 0
            # 2. Deliver what there is.
            started = time.monotonic()
            left = self.flush(seconds)
            waited = time.monotonic() - started
            # 3. End the thread: from here on no handle takes over from another.
            self._stopped.set()
            if self._thread is not None:
                self._thread.join()
            # 4. Give up the rest: each is reported, and so counted, as failed.
            given_up = self._give_up(self._producer, waited) if left else 0
            self._delivered = self.delivered
            self._producer = None
            return given_up

    def _give_up(self, producer: Producer, waited: float) -> int:
        before = self.counters.failed_deliveries
        self._giving_up = True
        producer.purge()
        producer.flush(PURGE_SECONDS)
        given_up = self.counters.failed_deliveries - before
        log.warning(
            "usage_events_given_up",
            events=given_up,
            waited_seconds=round(waited, 1),
            dropped=self.counters.dropped,
        )
        return given_up

    @property
    def delivered(self) -> int:
        """Events that Kafka has acknowledged: never too many, exact when nothing is under way."""
        # From source to destination: an event on its way between two is counted twice, not never.
        accepted = self._accepted
        under_way = len(self._retired or ()) + len(self._rescued)
        if (producer := self._producer) is not None:
            now = accepted - under_way - len(producer) - self.counters.failed_deliveries
            self._delivered = max(self._delivered, now)
        return self._delivered

    @property
    def queued(self) -> int:
        """Events that were accepted and are neither delivered nor given up."""
        accepted = self._accepted
        return max(0, accepted - self.delivered - self.counters.failed_deliveries)

    def snapshot(self) -> CountersSnapshot:
        return CountersSnapshot(
            recorded=self._accepted,
            delivered=self.delivered,
            queued=self.queued,
            dropped=self.counters.dropped,
            unrecorded=self.counters.unrecorded,
        )

    def _not_delivered(self, error: KafkaError, message: Message) -> None:
        key, value = message.key(), message.value()
        if error.code() in TAKEN_OVER and not self._giving_up and key and value:
            self._rescued.append((key, value))
            self._refused |= error.code() == KafkaError._FATAL
        elif self._giving_up:
            self.counters.drop("delivery_failed")  # told once, when all of it is counted
        else:
            self._drop("delivery_failed", str(error.name()))

    def _kafka_failed(self, error: KafkaError) -> None:
        self._refused |= error.fatal()
        self._availability.failed(error, self.delivered)

    def _kafka_reported(self, statistics: str) -> None:
        if self.queued and self._identity.is_refused(statistics, self.delivered):
            self._refused = True

    def _drop(self, reason: DropReason, detail: str) -> bool:
        if self.counters.drop(reason):
            dropped = self.counters.dropped
            log.warning("usage_events_dropped", reason=reason, detail=detail, dropped=dropped)
        return False


def _produce_problem(error: Exception) -> tuple[DropReason, str]:
    if isinstance(error, BufferError):
        return "queue_full", ""
    if not isinstance(error, KafkaException):
        return "record_failed", describe(error)
    code: KafkaError = error.args[0]
    too_large = code.code() == KafkaError.MSG_SIZE_TOO_LARGE
    return ("too_large" if too_large else "record_failed"), str(code.name())

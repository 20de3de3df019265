"""The events of one process on their way to Kafka: a number for each, a bounded queue, a thread.

An outbox belongs to the process that made it. librdkafka's threads do not survive a fork, so the
child makes an outbox of its own and must not even destroy the handle that it inherited.
"""

import os
import secrets
import socket
import time
from threading import Event, Lock, Thread

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from usagepipe.producer.counters import Counters, CountersSnapshot, DropReason
from usagepipe.producer.faults import describe
from usagepipe.producer.librdkafka import Availability, LibraryLog, producer_config
from usagepipe.schemas.codec import StampingEncoder
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import Settings

log = structlog.get_logger()

POLL_SECONDS = 0.1  # how late a failure is seen, and how long close() waits for the thread
PURGE_SECONDS = 1.0  # for the reports of what was given up


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
        self._lock = Lock()  # keeps the numbers in the order of the queue
        self._closing = Lock()
        self._stopped = Event()
        self._producer: Producer | None = None
        self._thread: Thread | None = None
        self._closed = closed
        self._sequence = 0
        self._accepted = 0
        self._failed = 0
        self._delivered = 0

    def put(self, event: UsageEvent) -> bool:
        """Queue `event`; False when it was dropped (and counted). Never blocks, never raises."""
        try:
            key = (event.api_key_id or event.user_id).encode()
        except Exception as error:
            return self._drop("invalid", describe(error))
        with self._lock:
            problem = self._queue(event, key)
        return problem is None or self._drop(*problem)

    def _queue(self, event: UsageEvent, key: bytes) -> tuple[DropReason, str] | None:
        if self._closed:
            return "closed", ""
        self._sequence += 1  # before anything can fail: a gap in the numbers tells of the loss
        try:
            value = self._encoder.encode(event, self._sequence)
        except Exception as error:
            return "invalid", describe(error)
        try:
            producer = self._producer or self._start()
            producer.produce(self._settings.topic, value, key)
        except BufferError:
            return "queue_full", ""
        except KafkaException as error:
            code = error.args[0]
            too_large = code.code() == KafkaError.MSG_SIZE_TOO_LARGE
            return ("too_large" if too_large else "record_failed"), str(code.name())
        except Exception as error:
            return "record_failed", describe(error)
        self._accepted += 1
        return None

    def start(self) -> None:
        """Make the librdkafka handle now rather than with the first event."""
        with self._lock:
            if self._producer is None and not self._closed:
                self._start()

    def _start(self) -> Producer:
        self._producer = Producer(
            producer_config(self._settings)
            | {"on_delivery": self._not_delivered, "error_cb": self._kafka_failed},
            logger=LibraryLog(),
        )
        self._thread = Thread(target=self._serve, name="usagepipe-outbox", daemon=True)
        self._thread.start()
        return self._producer

    def _serve(self) -> None:
        """Hands librdkafka's reports to Python until the outbox is closed."""
        while not self._stopped.is_set() and (producer := self._producer) is not None:
            try:
                producer.poll(POLL_SECONDS)
                self._availability.delivered(self.delivered)
            except Exception as error:
                log.error("outbox_poll_failed", error=describe(error))
                self._stopped.wait(POLL_SECONDS)

    def flush(self, seconds: float) -> int:
        """Wait until all that is queued is delivered, `seconds` at most; how many are left."""
        producer = self._producer
        if producer is None:
            return 0
        deadline = time.monotonic() + seconds
        # In slices, so that a signal's handler in the main thread does not have to wait for all.
        while left := producer.flush(max(0.0, min(POLL_SECONDS, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                break
        return left

    def close(self, seconds: float) -> int:
        """Refuse new events, deliver what is queued, give up the rest; how many were given up."""
        with self._closing:
            # 1. Refuse. What comes later is counted as `closed`.
            with self._lock:
                self._closed = True
                producer, thread = self._producer, self._thread
            if producer is None:
                return 0
            # 2. Deliver what there is.
            left = self.flush(seconds)
            # 3. Give up the rest: each is reported, and so counted, as failed.
            if left:
                log.warning("usage_events_given_up", events=left, waited_seconds=seconds)
                producer.purge()
                producer.flush(PURGE_SECONDS)
            # 4. Let go of the handle, once its thread has.
            self._stopped.set()
            if thread is not None:
                thread.join()
            self._delivered = self.delivered
            self._producer = None
            return left

    @property
    def delivered(self) -> int:
        """Events that Kafka has acknowledged: never too many, exact when nothing is under way."""
        accepted, producer = self._accepted, self._producer
        if producer is not None:
            now = accepted - len(producer) - self._failed
            self._delivered = max(self._delivered, now)
        return self._delivered

    def snapshot(self) -> CountersSnapshot:
        recorded, delivered = self._accepted, self.delivered
        return CountersSnapshot(
            recorded=recorded,
            delivered=delivered,
            queued=max(0, recorded - delivered - self._failed),
            dropped=self.counters.dropped,
            unrecorded=self.counters.unrecorded,
        )

    def _not_delivered(self, error: KafkaError, message: Message) -> None:
        self._failed += 1
        self._drop("delivery_failed", str(error.name()))

    def _kafka_failed(self, error: KafkaError) -> None:
        self._availability.failed(error, self.delivered)

    def _drop(self, reason: DropReason, detail: str) -> bool:
        if self.counters.drop(reason):
            dropped = self.counters.dropped
            log.warning("usage_events_dropped", reason=reason, detail=detail, dropped=dropped)
        return False

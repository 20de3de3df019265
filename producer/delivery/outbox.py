"""The events of one process on their way to Kafka: numbers each event and puts it into the inbox.

An outbox belongs to the process that made it. Neither its thread nor librdkafka's threads survive a
fork. So a child makes its own outbox, and must not even destroy the inherited producer. What
happens to an event after the inbox: `delivery_thread.py`.
"""

import os
import re
import secrets
import socket
import time
from functools import partial
from typing import Final

from usagepipe.producer.delivery.delivery_thread import DeliveryThread
from usagepipe.producer.delivery.losses import Losses
from usagepipe.producer.process.native import Event, RLock, Thread, pause
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.telemetry.counters import Counters, CountersSnapshot, DropReason
from usagepipe.producer.telemetry.meters import Meter
from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import ProducerSettings

POLL_SECONDS: Final = 0.01  # between two looks at what is left, while waiting
REPORT_SECONDS: Final = 2.0  # for a gap record to arrive: a healthy Kafka is faster
KEPT_SECONDS: Final = 2.0  # at the end, for events on disk: the next process sends them anyway
AGAIN_SECONDS: Final = 0.5  # for events that an earlier call has waited for
END_SECONDS: Final = 30.0  # for the thread to end; a disk that hangs must not hold the process

_ODD: Final = re.compile(r"[^A-Za-z0-9._-]")


def new_producer_id() -> str:
    """A name for this process: host and pid for people, 64 random bits to make it unique."""
    try:
        # Also the name of a folder, and the kernel allows any bytes in a host name.
        host = _ODD.sub("-", socket.gethostname()[:64])
    except Exception:
        host = "unknown"
    return f"{host}-{os.getpid()}-{secrets.token_hex(8)}"


def meter_of(settings: ProducerSettings) -> Meter:
    """The meter that the settings ask for.

    Raises:
        MissingExtraError: `metrics` is set and prometheus-client is not installed.
        SettingsError: its folder for several processes is not writable.
    """
    if not settings.metrics:
        return Meter()
    from usagepipe.producer.telemetry.metrics import PrometheusMeter, shared_metrics

    try:
        return PrometheusMeter(shared_metrics())
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        problem = f"USAGEPIPE_METRICS: PROMETHEUS_MULTIPROC_DIR cannot be written ({reason})."
        raise SettingsError((problem,)) from None


class Outbox:
    """Takes events for Kafka. All methods may be called from any thread of its process."""

    def __init__(self, settings: ProducerSettings, *, closed: bool = False) -> None:
        self.producer_id = new_producer_id()
        self.counters = Counters(meter_of(settings))
        self._losses = Losses(self.producer_id, self.counters)
        self._delivery = DeliveryThread(settings, self.producer_id, self._losses)
        self._most_events = settings.queue_events
        # Keeps the numbers in the order of the inbox. A signal handler may record an event while
        # its thread holds the lock: the code under it must tolerate such an interruption.
        self._lock = RLock()
        self._closing = RLock()  # two greenlets of one thread may close at once
        self._stopped = Event()
        self._thread: Thread | None = None
        self._has_failed = False  # the thread did not start, and that was logged
        self._closed = closed
        self._sequence = 0
        self._accepted = 0
        self._waited_for = 0  # accepted events that a stop() has already waited for

    def put(self, event: UsageEvent) -> bool:
        """Accept `event`. False: it was dropped and counted. Never blocks, never raises."""
        with self._lock:
            if (problem := self._take(event)) is None:
                return True
            number = self._sequence
        self._losses.add_unaccepted(problem, number)
        return False

    def _take(self, event: UsageEvent) -> DropReason | None:
        if self._closed:
            return "closed"
        # Before anything can fail: a gap in the numbers shows the loss.
        number = self._sequence = self._sequence + 1
        if self._thread is None and not self._start():
            return "record_failed"
        delivery = self._delivery
        if delivery.refusal is not None:
            return delivery.refusal
        if self._accepted - delivery.numbers.settled >= self._most_events:
            return "queue_full"
        delivery.inbox.append((event, number))
        self._accepted += 1
        return None

    def start(self) -> None:
        """Start the thread now, not with the first event. Never raises: the web application must
        start anyway, and the first event tries again."""
        with self._lock:
            self._waited_for = 0  # the application starts again: wait in full again
            if self._thread is None and not self._closed:
                self._start()

    def _start(self) -> bool:
        thread = Thread(partial(self._delivery.run, self._stopped), "usagepipe-delivery")
        if self._thread is not None:
            return True  # a signal handler has interrupted us and started one
        self._thread = thread
        try:
            thread.start()
        except Exception as error:
            self._thread = None
            if not self._has_failed:  # log it once: each event tries again
                log.error("delivery_thread_not_started", error=describe(error))
            self._has_failed = True
            return False
        return True

    def flush(self, seconds: float, *, kept_seconds: float | None = None) -> int:
        """Wait until all accepted events are delivered, at most `seconds`, and at most
        `kept_seconds` for events on disk. Returns how many are left, including those on disk."""
        kept_seconds = seconds if kept_seconds is None else min(seconds, kept_seconds)
        started = time.monotonic()
        self._delivery.is_hurried = True
        while time.monotonic() - started < self._patience_left(seconds, kept_seconds):
            if self._is_dead or self._stopped.is_set():
                break  # nobody delivers: the rest stays on disk for another process
            pause(POLL_SECONDS)  # in slices: a signal handler in the main thread can run in between
        self._delivery.is_hurried = False
        return self.queued

    def _patience_left(self, seconds: float, kept_seconds: float) -> float:
        """How long to wait in all: `seconds` for events that would be lost, `kept_seconds` for
        those on disk, a moment for a gap record."""
        if queued := self.queued:
            return seconds if queued > self._delivery.numbers.kept else kept_seconds
        if self._thread is None:
            return 0.0  # no thread, so nobody sends a gap record
        return min(seconds, REPORT_SECONDS) if self._losses.gaps.is_pending else 0.0

    def stop(self, seconds: float) -> int:
        """`flush` at the application's end. The next `stop` or `close` waits for a moment only."""
        accepted = self._accepted
        left = self.flush(self.patience(seconds), kept_seconds=KEPT_SECONDS)
        self._waited_for = accepted if left else 0
        return left

    def patience(self, seconds: float) -> float:
        """`seconds`; only a moment if events are left that a `stop` has waited for in vain."""
        is_again = self._accepted - self.queued < self._waited_for
        return min(seconds, AGAIN_SECONDS) if is_again else seconds

    def close(self, seconds: float) -> int:
        """Refuse new events, deliver the accepted ones, write the rest to disk, give up what does
        not fit there. Returns how many were given up."""
        with self._closing:
            # 1. Refuse: later events are counted as `closed`.
            with self._lock:
                self._closed = True
            if self._thread is None or self._stopped.is_set():
                return 0
            # 2. Deliver the accepted events.
            started = time.monotonic()
            self.flush(seconds, kept_seconds=KEPT_SECONDS)
            waited = time.monotonic() - started
            # 3. End the thread: last of all it saves what is left.
            lost = self._delivery.numbers.lost
            self._stopped.set()
            self._await_end(self._thread, END_SECONDS)
            if self._is_dead:
                self._delivery.give_up(self._accepted)
            return self._log_end(self._delivery.numbers.lost - lost, waited)

    def _await_end(self, thread: Thread, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        # Its last log lines may need a lock that another greenlet holds: let that one run.
        while not thread.ended.is_set() and time.monotonic() < deadline:
            pause(0.0)
            thread.ended.wait(POLL_SECONDS)

    @property
    def _is_dead(self) -> bool:
        return self._thread is not None and self._thread.ended.is_set()

    def _log_end(self, given_up: int, waited: float) -> int:
        facts = {"waited_seconds": round(waited, 1), "dropped": self.counters.dropped}
        if kept := self._delivery.numbers.kept:
            log.warning("usage_events_kept_on_disk", events=kept, **facts)
        if given_up:
            log.warning("usage_events_given_up", events=given_up, **facts)
        return given_up

    @property
    def queued(self) -> int:
        """Events that were accepted and are neither delivered nor given up."""
        numbers = self._delivery.numbers
        return max(0, self._accepted - numbers.delivered - numbers.lost)

    def snapshot(self) -> CountersSnapshot:
        numbers = self._delivery.numbers
        accepted = self._accepted
        return CountersSnapshot(
            recorded=accepted,
            delivered=numbers.delivered,
            queued=max(0, accepted - numbers.delivered - numbers.lost),
            dropped=self.counters.dropped,
            unrecorded=self.counters.unrecorded,
            spilled=numbers.spilled,
            resent=numbers.resent,
            spill_bytes=numbers.spill_bytes,
            oldest_unsent_seconds=numbers.oldest_seconds,
        )

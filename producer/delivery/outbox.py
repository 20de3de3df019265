"""The events of one process on their way to Kafka: a number for each, and an inbox.

An outbox belongs to the process that made it. Neither its thread nor librdkafka's survive a fork,
so the child makes an outbox of its own and must not even destroy the handle that it inherited.
What happens to an event behind the inbox is told in `courier.py`.
"""

import os
import re
import secrets
import socket
import time
from functools import partial
from typing import Final

from usagepipe.producer.delivery.courier import Courier, Inbox
from usagepipe.producer.delivery.teller import Teller
from usagepipe.producer.process.native import Event, RLock, Thread, pause
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.telemetry.counters import Counters, CountersSnapshot, DropReason
from usagepipe.producer.telemetry.meters import Meter, NoMeter, meter_of
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import ProducerSettings

LOOK_SECONDS: Final = 0.01  # between two looks at what is left, for those who wait
TOLD_SECONDS: Final = 2.0  # longer than a Kafka that is well takes, for losses to be told
KEPT_SECONDS: Final = 2.0  # at the end, for events on disk: the next process has them anyway
AGAIN_SECONDS: Final = 0.5  # for events that have been waited for before
END_SECONDS: Final = 30.0  # for the thread's last act; a disk that hangs must not hold the process

_ODD: Final = re.compile(r"[^A-Za-z0-9._-]")


def new_producer_id() -> str:
    """Names this process: host and pid for people, 64 random bits so that it never comes twice."""
    try:
        # It is a folder's name too, and the kernel lets a host have any bytes for a name.
        host = _ODD.sub("-", socket.gethostname()[:64])
    except Exception:
        host = "unknown"
    return f"{host}-{os.getpid()}-{secrets.token_hex(8)}"


def _meter_of(settings: ProducerSettings) -> Meter:
    """Its folder may have gone since the recorder was made: that costs numbers, no event."""
    try:
        return meter_of(settings)
    except Exception as error:
        log.error("metrics_failed", error=describe(error))
        return NoMeter()


class Outbox:
    """Takes events for Kafka. All methods may be called from any thread of its process."""

    def __init__(self, settings: ProducerSettings, *, closed: bool = False) -> None:
        self.producer_id = new_producer_id()
        meter = _meter_of(settings)
        self.counters = Counters(meter)
        self._inbox = Inbox()
        self._teller = Teller(self.producer_id)
        self._courier = Courier(
            settings, self.producer_id, self._inbox, self.counters, meter, self._teller
        )
        self._most_events = settings.queue_events
        # Keeps the numbers in the order of the inbox. A signal's handler may record an event while
        # its thread holds the lock; all below stands such an interruption.
        self._lock = RLock()
        self._closing = RLock()  # two greenlets of one thread may be inside
        self._stopped = Event()
        self._thread: Thread | None = None
        self._has_failed = False  # to start, and that was logged
        self._closed = closed
        self._sequence = 0
        self._accepted = 0
        self._waited_for = 0  # of the accepted: a stop() has spent its time on them

    def put(self, event: UsageEvent) -> bool:
        """Take `event`; False when it was dropped (and counted). Never blocks, never raises."""
        with self._lock:
            if (problem := self._take(event)) is None:
                return True
            number = self._sequence
        return self._drop(problem, number)

    def _take(self, event: UsageEvent) -> DropReason | None:
        if self._closed:
            return "closed"
        # Before anything can fail: a gap in the numbers tells of the loss.
        number = self._sequence = self._sequence + 1
        if self._thread is None and not self._start():
            return "record_failed"
        courier = self._courier
        if courier.refusal is not None:
            return courier.refusal
        if self._accepted - courier.numbers.settled >= self._most_events:
            return "queue_full"
        self._inbox.append((event, number))
        self._accepted += 1
        return None

    def start(self) -> None:
        """Start the thread now rather than with the first event. Never raises: a web application
        starts without it, and the first event tries again."""
        with self._lock:
            self._waited_for = 0  # an application that starts again may take its time again
            if self._thread is None and not self._closed:
                self._start()

    def _start(self) -> bool:
        thread = Thread(partial(self._courier.run, self._stopped), "usagepipe-outbox")
        if self._thread is not None:
            return True  # whoever interrupted this has started one
        self._thread = thread
        try:
            thread.start()
        except Exception as error:
            self._thread = None
            if not self._has_failed:  # each event tries again
                log.error("outbox_start_failed", error=describe(error))
            self._has_failed = True
            return False
        return True

    def flush(self, seconds: float, *, kept_seconds: float | None = None) -> int:
        """Wait until all that was taken is delivered, `seconds` at most, and `kept_seconds` for
        what is on disk; how many are left, those on disk among them."""
        kept_seconds = seconds if kept_seconds is None else min(seconds, kept_seconds)
        started = time.monotonic()
        self._courier.is_hurried = True
        # In slices, so that a signal's handler in the main thread does not have to wait for all.
        while (
            time.monotonic() - started < self._patience_left(seconds, kept_seconds)
            and not self._is_dead
        ):
            if self._stopped.is_set():
                break  # closed: what is left waits on disk for another process
            pause(LOOK_SECONDS)
        self._courier.is_hurried = False
        return self.queued

    def _patience_left(self, seconds: float, kept_seconds: float) -> float:
        """How long to wait in all: `seconds` for events that would be lost, `kept_seconds` for
        those on disk, and not for long for a gap record."""
        if queued := self.queued:
            return seconds if queued > self._courier.numbers.kept else kept_seconds
        if self._thread is None:
            return 0.0  # that nobody tells
        return min(seconds, TOLD_SECONDS) if self._teller.is_telling else 0.0

    def stop(self, seconds: float) -> int:
        """`flush` at the application's end: the next `stop` or `close` will not wait again."""
        accepted = self._accepted
        left = self.flush(self.patience(seconds), kept_seconds=KEPT_SECONDS)
        self._waited_for = accepted if left else 0
        return left

    def patience(self, seconds: float) -> float:
        """`seconds`, or a moment while events are left that a `stop` has waited for in vain."""
        return min(seconds, AGAIN_SECONDS) if self._done < self._waited_for else seconds

    def close(self, seconds: float) -> int:
        """Refuse new events, deliver what was taken, put the rest on disk, give up what does not
        fit there; how many were given up."""
        with self._closing:
            # 1. Refuse. What comes later is counted as `closed`.
            with self._lock:
                self._closed = True
            if self._thread is None or self._stopped.is_set():
                return 0
            # 2. Deliver what there is.
            started = time.monotonic()
            self.flush(seconds, kept_seconds=KEPT_SECONDS)
            waited = time.monotonic() - started
            # 3. End the thread: its last act is to save what is left.
            lost = self._courier.numbers.lost
            self._stopped.set()
            self._await_end(self._thread, END_SECONDS)
            if self._is_dead:
                self._give_up(self._accepted - self._courier.numbers.settled)
            return self._tell(self._courier.numbers.lost - lost, waited)

    def _await_end(self, thread: Thread, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        # Its last lines may need a lock that another greenlet holds: let that one run.
        while thread.is_alive() and time.monotonic() < deadline:
            pause(0.0)
            thread.join(LOOK_SECONDS)

    @property
    def _is_dead(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def _give_up(self, left: int) -> None:
        """Count what the thread has neither delivered nor kept, as its last act failed."""
        if left > 0:
            self._courier.give_up(left)
            self.counters.drop("delivery_failed", left)

    def _tell(self, given_up: int, waited: float) -> int:
        facts = {"waited_seconds": round(waited, 1), "dropped": self.counters.dropped}
        if kept := self._courier.numbers.kept:
            log.warning("usage_events_kept_on_disk", events=kept, **facts)
        if given_up:
            log.warning("usage_events_given_up", events=given_up, **facts)
        return given_up

    @property
    def queued(self) -> int:
        """Events that were accepted and are neither delivered nor given up."""
        return max(0, self._accepted - self._done)

    @property
    def _done(self) -> int:
        numbers = self._courier.numbers
        return numbers.delivered + numbers.lost

    def snapshot(self) -> CountersSnapshot:
        numbers = self._courier.numbers
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

    def _drop(self, reason: DropReason, number: int) -> bool:
        if reason != "closed":  # that got no number: no gap tells of it
            self._teller.lost(reason, 1, number)
        if self.counters.drop(reason):
            dropped = self.counters.dropped
            log.warning("usage_events_dropped", reason=reason, dropped=dropped)
        return False

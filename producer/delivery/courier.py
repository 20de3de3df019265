"""The outbox's thread: carries events from the inbox to Kafka, by way of the spill when it must.

It alone touches librdkafka and the spill, so neither needs a lock. While Kafka answers:

1. Events are taken from the inbox and encoded. A crash (`kill -9`) costs what is in the inbox:
   a step's time, some 20 ms.
2. They are given to librdkafka. A crash costs what Kafka has not acknowledged: `linger_ms` and
   the way there and back, and when an outage begins, up to `STALL_SECONDS` more; before the first
   acknowledgement up to `CONNECT_SECONDS` for each step of the connection, unless Kafka refuses.

From the moment when the oldest event has waited for so long, or the queue is full, or Kafka
refuses (`_retreat`), until the spill is empty again:

3. What librdkafka holds is taken back, and with all that is new written to this process' files.
   A crash costs the inbox only. What was under way may arrive twice; it is stored once.
4. The oldest files are sent. A crash costs nothing: they are still there.
5. Acknowledged files are deleted. A crash before that sends them again.
6. When the last is acknowledged and Kafka answers promptly, events go straight to it again. Not
   before: a key's events keep their order.

What is lost leaves a gap in the numbers of this producer (`sequence`), which `usagepipe audit`
names. A gap record tells the reasons and the time, and of losses behind the last event: it goes
the way of the events, the first at once, then one every `TELL_SECONDS` while there are losses, and
the last when the process ends (`teller.py`). A crash costs what was lost since the last one its
reasons and times, no more.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from usagepipe.producer.delivery.handle import Handle, Refused
from usagepipe.producer.delivery.spill import Record, Spill, events_in, is_event, number_of
from usagepipe.producer.delivery.spilled_batch import SpilledBatch
from usagepipe.producer.delivery.teller import Teller
from usagepipe.producer.process.native import Event
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.telemetry.counters import Counters, DropReason
from usagepipe.producer.telemetry.delivery_numbers import DeliveryNumbers
from usagepipe.producer.telemetry.meters import Meter
from usagepipe.schemas.codec import StampingEncoder, record_key
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import ProducerSettings

Inbox = deque[tuple[UsageEvent, int]]  # each with its number

STEP_SECONDS: Final = 0.02
STALL_SECONDS: Final = 0.5  # besides linger_ms: longer than a healthy Kafka takes to acknowledge
PROMPT_SECONDS: Final = 0.25  # how soon Kafka answers when it is well
RETRY_SECONDS: Final = 1.0  # after a refusal
MOST_SEGMENTS: Final = 8  # that are sent at once
WRITE_EVENTS: Final = 1_000  # that are written at once
TELL_SECONDS: Final = 30.0  # between two gap records
HURRY_SECONDS: Final = 0.25  # the same when somebody waits
TOO_LARGE: Final = "MSG_SIZE_TOO_LARGE"


class Courier:
    """Everything behind the inbox. `run` is the thread; the attributes may be read by any."""

    def __init__(
        self,
        settings: ProducerSettings,
        producer_id: str,
        inbox: Inbox,
        counters: Counters,
        meter: Meter,
        teller: Teller,
    ) -> None:
        self.numbers = DeliveryNumbers()
        self._lost = 0  # of this process' events, after they were accepted
        self._spilled = 0
        self._resent = 0
        self.is_hurried = False  # somebody waits: nothing lingers
        self.refusal: DropReason | None = None  # why nothing more can be accepted now
        self._settings = settings
        self._inbox = inbox
        self._counters = counters
        self._meter = meter
        self._teller = teller
        self._encoder = StampingEncoder(producer_id)
        self.spill = Spill(settings, producer_id)
        patience = STALL_SECONDS + settings.linger_ms / 1_000
        self._handle = Handle(settings, patience_seconds=patience)
        self._waiting: deque[Record] = deque()  # encoded, and neither in librdkafka nor on disk
        self._waiting_bytes = 0
        self._waiting_since = 0.0
        self._taken = 0
        self._last_number = 0  # of what was taken
        self._spilling = False
        self._batch: SpilledBatch | None = None
        self._segments = 1  # how many to send at once
        self._is_prompt = False
        self._retry_at = 0.0
        self._fault = ""  # that the last step had
        self._most_bytes = settings.queue_kilobytes << 10

    def run(self, stopped: Event) -> None:
        """Work until `stopped`, then save what is left: on disk, else it is given up."""
        self._guarded(self.spill.open)
        while not stopped.is_set():
            if not self._guarded(self._step):
                stopped.wait(RETRY_SECONDS)
        self._guarded(self._finish)
        self.spill.close()
        self._meter.ended()

    def _guarded(self, part: Callable[[], None]) -> bool:
        """Whether `part` was done. Nothing gets out, not even what is no Exception (a panic in
        pydantic's core): without this thread every event is lost."""
        try:
            try:
                part()
            finally:
                self._publish()
        except BaseException as error:
            # The next step may fail in the same way, each second.
            if (fault := describe(error)) != self._fault:
                log.error("outbox_failed", error=fault)
            self._fault = fault
            return False
        self._fault = ""
        return True

    def _step(self) -> None:
        self.spill.open()
        self._encode()
        self._tell_losses()
        if self._spilling:
            self._keep(PROMPT_SECONDS if self._is_prompt else 0.0)
            self._resend()
        else:
            self._send()
        self._publish()
        self._handle.serve(STEP_SECONDS, hurry=self._spilling or self.is_hurried)
        self._judge()

    def _encode(self) -> None:
        """Make bytes of what is in the inbox."""
        number = self._last_number
        for _ in range(len(self._inbox)):
            event, number = self._inbox[0]
            try:
                record = record_key(event), self._encoder.encode(event, number)
            except BaseException as error:  # else it would be tried for ever
                self._lose("invalid", 1, number, describe(error))
            else:
                self._wait(record)
                self._meter.tokens(event)
            self._taken += 1
            self._inbox.popleft()
        self._last_number = number

    def _wait(self, record: Record) -> None:
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting.append(record)
        self._waiting_bytes += len(record[0]) + len(record[1])

    def _wait_first(self, records: Sequence[Record]) -> None:
        self._waiting.extendleft(reversed(records))
        self._waiting_bytes += sum(len(key) + len(value) for key, value in records)
        self._waiting_since = 0.0

    def _pop(self) -> None:
        key, value = self._waiting.popleft()
        self._waiting_bytes -= len(key) + len(value)

    def _send(self) -> None:
        """Give librdkafka what waits. With its queue full, the spill takes over."""
        if time.monotonic() < self._retry_at:
            return
        while self._waiting and self._handle.produce(self._waiting[0]):
            self._pop()
        if self._waiting:
            self._spilling = self.spill.takes_events
        self._count_refused()

    def _keep(self, hold_seconds: float) -> None:
        """Write what has waited for longer than `hold_seconds`, and all behind it."""
        if not self._waiting or not self.spill.takes_events:
            return
        if time.monotonic() - self._waiting_since < hold_seconds:
            return
        busy = self._batch.segments if self._batch else ()
        while some := list(islice(self._waiting, WRITE_EVENTS)):
            kept, given_up = self.spill.write(some, busy)
            for _ in range(kept):
                self._pop()
            self._spilled += events_in(some[:kept])
            for segment in given_up:
                self._lose("spill_overwritten", segment.events, segment.last_sequence)
                self._teller.take_back(segment.gaps)
            if kept < len(some):
                break

    def _resend(self) -> None:
        if self._batch is None:
            if len(self._handle):  # what was given to it directly
                return
            self._batch = self._next_batch()
            if self._batch is None:
                self._leave()
                return
        self._batch.send(self._handle)

    def _next_batch(self) -> SpilledBatch | None:
        if time.monotonic() < self._retry_at:
            return None
        segments = self.spill.take(self._segments)
        try:
            return SpilledBatch(self.spill, segments) if segments else None
        except OSError:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return None

    def _leave(self) -> None:
        """Send directly again, once no file is left and Kafka is well, or no file can be had."""
        is_well = self._is_prompt or not self._waiting or not self.spill.takes_events
        if is_well and self.spill.is_empty and not self.spill.adopt():
            self._spilling = False

    def _judge(self) -> None:
        """See what has become of what the handle was given."""
        batch, handle = self._batch, self._handle
        if batch is not None:
            batch.note(handle)
            if handle.is_dead or batch.has_failed:
                self._retry(batch)
            elif batch.is_sent and not len(handle):
                self._acknowledged(batch)
            return
        self._count_refused()
        stalled = handle.is_stalled and self.spill.takes_events
        if handle.is_dead or handle.returned or stalled:
            self._retreat()
        elif not self._spilling and self.spill.adopt():
            self._spilling = True

    def _retreat(self) -> None:
        """Take back what the handle holds. Without a spill, another handle gets it."""
        self._spilling = self.spill.takes_events
        self._is_prompt = False
        if self._handle.returned or self._handle.is_dead:
            self._retry_at = time.monotonic() + RETRY_SECONDS
        records = self._handle.take_back()
        self._count_refused()
        log.debug("outbox_retreated", events=len(records), spill=self._spilling)
        self._wait_first(records)

    def _retry(self, batch: SpilledBatch) -> None:
        """Kafka refuses: a new handle sends the same files, after a while."""
        self._handle.take_back()
        self._handle.refused.clear()
        self._batch = None
        self._segments = 1
        self._is_prompt = False
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def _acknowledged(self, batch: SpilledBatch) -> None:
        self._batch = None
        self._segments = min(self._segments * 2, MOST_SEGMENTS)
        self._is_prompt = batch.seconds < PROMPT_SECONDS
        self._resent += batch.events - len(batch.refused)
        for segment in batch.segments:
            self.spill.remove(segment)
        self._lose("spill_damaged", batch.damaged, batch.last_sequence, own=batch.is_own)
        self._lose_refused(batch.refused, own=batch.is_own)

    def _finish(self) -> None:
        """The end: what is left goes to disk, and what does not fit there is given up."""
        self._encode()
        records = self._handle.take_back(go_on=False)
        if self._batch is None:
            self._wait_first(records)
            self._count_refused()
        self._batch = None
        self._keep(0.0)
        if left := [number_of(each) for each in self._waiting if is_event(each)]:
            self._teller.lost("delivery_failed", len(left), max(left))
            self._lost += len(left)
            self._counters.drop("delivery_failed", len(left))  # told once, by whoever closes
        self._teller.take_back(self._waiting)
        self._waiting.clear()
        if (record := self._teller.take(0.0)) and not self.spill.write_gap(record):
            log.warning("usage_losses_untold", dropped=self._counters.dropped)

    def _tell_losses(self) -> None:
        """Write or send a gap record if there is one to make, and now and then only."""
        if (self._waiting or self._spilling) and not self.spill.takes_events:
            return
        record = self._teller.take(HURRY_SECONDS if self.is_hurried else TELL_SECONDS)
        if record is None:
            return
        if not self._spilling:
            self._wait(record)
        elif not self.spill.write_gap(record):
            self._teller.take_back([record])

    def _count_refused(self) -> None:
        self._lose_refused(self._handle.refused)
        self._handle.refused.clear()

    def _lose_refused(self, refused: Sequence[Refused], *, own: bool = True) -> None:
        for number, error in refused:
            reason: DropReason = "too_large" if error == TOO_LARGE else "delivery_failed"
            self._lose(reason, 1, number, error, own=own)

    def _lose(
        self, reason: DropReason, events: int, last: int, detail: str = "", *, own: bool = True
    ) -> None:
        """Count events that were accepted, those of a dead process not among our own. `last` is
        the greatest of their numbers: where it is 0, they are among those that were taken."""
        if not events:
            return
        if own:
            self._teller.lost(reason, events, last or self._last_number)
            self._lost += events
        if self._counters.drop(reason, events):
            dropped = self._counters.dropped
            log.warning("usage_events_dropped", reason=reason, detail=detail, dropped=dropped)

    @property
    def _direct(self) -> int:
        """Events in the handle that are nowhere else."""
        return len(self._handle) if self._batch is None else 0

    def _publish(self) -> None:
        """Show the other threads where the events are."""
        before, kept = self.numbers, self.spill.events
        # The handle counts its pending reports too, so this may be less than it was.
        now = self._taken - self._lost - len(self._waiting) - self._direct - kept
        delivered = max(before.delivered, now)
        self._handle.acknowledged = delivered + self._resent
        if self._teller.is_telling and not (self._waiting or self._direct or self.spill.has_own):
            self._teller.settle()
        self.refusal = self._refusal()
        self.numbers = DeliveryNumbers(
            recorded=self._taken + len(self._inbox),
            delivered=delivered,
            lost=self._lost,
            kept=kept,
            settled=delivered + self._lost + kept,
            spilled=self._spilled,
            resent=self._resent,
            spill_bytes=self.spill.bytes,
            oldest_seconds=round(self._oldest_seconds(), 3),
        )
        self._meter.delivery(self.numbers)

    def give_up(self, events: int) -> None:
        """Count events that a dead thread has neither delivered nor kept."""
        lost, settled = self.numbers.lost + events, self.numbers.settled + events
        self.numbers = self.numbers._replace(lost=lost, settled=settled)

    def _refusal(self) -> DropReason | None:
        if self._spilling and self.spill.is_full:
            return "spill_full"
        return "queue_full" if self._waiting_bytes > self._most_bytes else None

    def _oldest_seconds(self) -> float:
        if (since := self.spill.oldest) is not None:
            return max(0.0, time.time() - since)
        return self._handle.age() if self._batch is None else 0.0

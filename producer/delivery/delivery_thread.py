"""The delivery thread: takes events from the inbox to Kafka, over the disk when Kafka fails.

Only this thread uses librdkafka and the spill, so neither needs a lock. While Kafka answers:

1. Take events from the inbox and encode them. A crash (`kill -9`) loses what is in the inbox: the
   events of one step, some 20 ms.
2. Give them to librdkafka. A crash loses what Kafka has not acknowledged: `linger_ms` and one round
   trip; at the start of an outage up to `STALL_SECONDS` more; before the first acknowledgement up
   to `CONNECT_SECONDS` for each step of the connection, unless Kafka refuses.

The thread switches to the disk (`SpillMode`) when the oldest event has waited too long, when the
queue is full, or when Kafka refuses. Until the spill is empty again:

3. Take back what librdkafka holds, and write it and all new events to this process' files. A crash
   loses the inbox only. Events in flight may arrive twice; each is stored once.
4. Send the oldest files. A crash loses nothing: the files are still there.
5. Delete acknowledged files. A crash before that sends them again.
6. Send directly again when the last file is acknowledged and Kafka answers promptly. Not earlier,
   to keep the order of each key's events.

A lost event leaves a gap in the numbers of this producer (`sequence`), which `usagepipe audit`
reports. A gap record adds reasons and times, and covers losses after the last event. It travels
like an event: the first at once, then one every `REPORT_SECONDS` while there are losses, and the
last when the process ends (`losses.py`). A crash loses the reasons and times of the losses
since the last one.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from usagepipe.producer.delivery.encoded_queue import EncodedQueue
from usagepipe.producer.delivery.kafka_producer_handle import RETRY_SECONDS, KafkaProducerHandle
from usagepipe.producer.delivery.losses import Losses
from usagepipe.producer.delivery.spill import Spill, is_event, number_of
from usagepipe.producer.delivery.spill_mode import SpillMode
from usagepipe.producer.process.native import Event
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.telemetry.counters import DropReason
from usagepipe.producer.telemetry.meters import DeliveryNumbers
from usagepipe.schemas.codec import StampingEncoder, record_key
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import ProducerSettings

STEP_SECONDS: Final = 0.02
STALL_SECONDS: Final = 0.5  # plus linger_ms: a healthy Kafka acknowledges sooner
REPORT_SECONDS: Final = 30.0  # between two gap records
HURRY_SECONDS: Final = 0.25  # the same while somebody waits for the delivery


class DeliveryThread:
    """Delivers what is in the inbox. `run` is the thread; any thread may read the attributes."""

    def __init__(self, settings: ProducerSettings, producer_id: str, losses: Losses) -> None:
        self.inbox: deque[tuple[UsageEvent, int]] = deque()  # accepted events and their numbers
        self.numbers = DeliveryNumbers()
        self.is_hurried = False  # somebody waits: do not let events linger
        self.refusal: DropReason | None = None  # why no event can be accepted now
        self._losses = losses
        self._meter = losses.counters.meter
        self._encoder = StampingEncoder(producer_id)
        self._spill = Spill(settings, producer_id)
        patience = STALL_SECONDS + settings.linger_ms / 1_000
        self._handle = KafkaProducerHandle(settings, patience_seconds=patience)
        self._waiting = EncodedQueue()
        self._disk = SpillMode(self._spill, self._waiting, self._handle, losses)
        self._taken = 0
        self._fault = ""  # of the last step
        self._max_bytes = settings.queue_kilobytes << 10

    def run(self, stopped: Event) -> None:
        """Work until `stopped`, then save what is left: to disk, else give it up."""
        self._guarded(self._spill.open)
        while not stopped.is_set():
            if not self._guarded(self._step):
                stopped.wait(RETRY_SECONDS)
        self._guarded(self._finish)
        self._spill.close()
        self._meter.ended()

    def _guarded(self, part: Callable[[], None]) -> bool:
        """Run `part`; whether it succeeded. Nothing escapes, not even a BaseException (a panic in
        pydantic's core): without this thread every event is lost."""
        try:
            try:
                part()
            finally:
                self._publish()
        except BaseException as error:
            # The next step may fail in the same way, each second.
            if (fault := describe(error)) != self._fault:
                log.error("delivery_step_failed", error=fault)
            self._fault = fault
            return False
        self._fault = ""
        return True

    def _step(self) -> None:
        self._spill.open()
        self._encode()
        self._report_losses()
        if self._disk.is_on:
            self._disk.step()
        else:
            self._send()
        self._publish()
        self._handle.serve(STEP_SECONDS, hurry=self._disk.is_on or self.is_hurried)
        self._take_reports()

    def _encode(self) -> None:
        """Step 1: encode what is in the inbox."""
        number = self._losses.last_taken
        for _ in range(len(self.inbox)):
            event, number = self.inbox[0]
            try:
                record = record_key(event), self._encoder.encode(event, number)
            except BaseException as error:  # otherwise the next step would try it again, forever
                self._losses.add("invalid", 1, number, describe(error))
            else:
                self._waiting.append(record)
                self._meter.tokens(event)
            self._taken += 1
            self.inbox.popleft()
        self._losses.last_taken = number

    def _send(self) -> None:
        """Step 2: give librdkafka what waits. If its queue is full, switch to the disk."""
        if self._handle.is_paused:
            return
        self._waiting.hand_over(self._handle.produce)
        if self._waiting:
            self._disk.enter()
        self._count_refused()

    def _take_reports(self) -> None:
        """See what became of the events that the handle was given."""
        if self._disk.is_sending:
            self._disk.take_reports()
            return
        self._count_refused()
        handle = self._handle
        stalled = handle.is_stalled and self._spill.takes_events
        if handle.is_dead or handle.returned or stalled:
            self._take_back()
        elif not self._disk.is_on and self._spill.adopt():
            self._disk.is_on = True

    def _take_back(self) -> None:
        """Take back what the handle holds and switch to the disk. Without one, the next handle
        gets it."""
        self._disk.enter()
        self._disk.is_prompt = False
        if self._handle.returned or self._handle.is_dead:
            self._handle.pause()
        records = self._handle.take_back()
        self._count_refused()
        log.debug("events_taken_back", events=len(records), spill=self._disk.is_on)
        self._waiting.put_first(records)

    def _finish(self) -> None:
        """Write what is left to disk; give up what does not fit there."""
        self._encode()
        records = self._handle.take_back()
        if not self._disk.is_sending:  # otherwise they are on disk already
            self._waiting.put_first(records)
            self._count_refused()
        self._disk.finish()
        left = self._waiting.first(len(self._waiting))
        self._losses.add_left_over([number_of(each) for each in left if is_event(each)])
        self._losses.gaps.report_again(left)
        self._waiting.drop_first(len(left))
        if (record := self._losses.gaps.next_record(0.0)) and not self._spill.write_gap(record):
            log.warning("usage_losses_unreported", dropped=self._losses.counters.dropped)

    def _report_losses(self) -> None:
        """Write or send a gap record if one is due."""
        if (self._waiting or self._disk.is_on) and not self._spill.takes_events:
            return
        gaps = self._losses.gaps
        record = gaps.next_record(HURRY_SECONDS if self.is_hurried else REPORT_SECONDS)
        if record is None:
            return
        if not self._disk.is_on:
            self._waiting.append(record)
        elif not self._spill.write_gap(record):
            gaps.report_again([record])

    def _count_refused(self) -> None:
        self._losses.add_refused(self._handle.refused)
        self._handle.refused.clear()

    def _publish(self) -> None:
        """Publish the numbers for other threads."""
        before, kept, lost = self.numbers, self._spill.events, self._losses.own
        in_handle = 0 if self._disk.is_sending else len(self._handle)  # and nowhere else
        # The handle counts its pending reports too, so this may be less than before.
        now = self._taken - lost - len(self._waiting) - in_handle - kept
        delivered = max(before.delivered, now)
        self._handle.acknowledged = delivered + self._disk.resent
        gaps = self._losses.gaps
        if gaps.is_pending and not (self._waiting or in_handle or self._spill.has_own):
            gaps.arrived()
        self.refusal = self._refusal()
        self.numbers = DeliveryNumbers(
            recorded=self._taken + len(self.inbox),
            delivered=delivered,
            lost=lost,
            kept=kept,
            settled=delivered + lost + kept,
            spilled=self._disk.spilled,
            resent=self._disk.resent,
            spill_bytes=self._spill.bytes,
            oldest_seconds=round(self._oldest_seconds(), 3),
        )
        self._meter.delivery(self.numbers)

    def give_up(self, accepted: int) -> None:
        """Count the accepted events that this thread, which is dead, neither delivered nor kept."""
        if (left := accepted - self.numbers.settled) > 0:
            self.numbers = self.numbers._replace(lost=self.numbers.lost + left, settled=accepted)
            self._losses.counters.drop("delivery_failed", left)

    def _refusal(self) -> DropReason | None:
        if self._disk.is_on and self._spill.is_full:
            return "spill_full"
        return "queue_full" if self._waiting.bytes > self._max_bytes else None

    def _oldest_seconds(self) -> float:
        if (since := self._spill.oldest) is not None:
            return max(0.0, time.time() - since)
        return 0.0 if self._disk.is_sending else self._handle.age()

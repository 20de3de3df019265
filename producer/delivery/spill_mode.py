"""Delivery by way of the disk, from the moment Kafka fails until the spill is empty again.

`delivery_thread.py` has the numbered steps (3 to 6 are here) and the cost of a crash in each.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from usagepipe.producer.delivery.encoded_queue import EncodedQueue
from usagepipe.producer.delivery.kafka_producer_handle import (
    RETRY_SECONDS,
    KafkaProducerHandle,
    Refused,
)
from usagepipe.producer.delivery.losses import Losses
from usagepipe.producer.delivery.spill import Record, Segment, Spill, events_in

PROMPT_SECONDS: Final = 0.25  # a healthy Kafka acknowledges sooner
MAX_SEGMENTS: Final = 8  # sent at once
WRITE_EVENTS: Final = 1_000  # written at once


class SpilledBatch:
    """Some segments in flight. They are read once, when the batch is made; the files stay until
    Kafka has acknowledged all events in them.

    Raises:
        OSError: the first segment cannot be read now.
    """

    def __init__(self, spill: Spill, segments: Sequence[Segment]) -> None:
        """The batch ends before the first segment that cannot be read now."""
        self.segments: list[Segment] = []
        self.is_own = spill.is_own(segments[0])
        self.damaged = 0  # events that could not be read
        self.refused: list[Refused] = []  # events that Kafka will never accept
        self.has_failed = False  # to be sent again
        self._unsent: deque[Record] = deque()
        for segment in segments:
            try:
                found = segment.read()
            except OSError:
                if not self.segments:
                    raise
                break
            self.segments.append(segment)
            self._unsent += found.records
            self.damaged += found.lost
        self.events = events_in(self._unsent)
        self.last_sequence = max(each.last_sequence for each in self.segments)
        self._sent_at = time.monotonic()

    @property
    def is_sent(self) -> bool:
        return not self._unsent

    @property
    def seconds(self) -> float:
        """Seconds since the last event was given to librdkafka."""
        return time.monotonic() - self._sent_at

    def send(self, handle: KafkaProducerHandle) -> None:
        """Give `handle` as many events as it takes."""
        while self._unsent and handle.produce(self._unsent[0]):
            self._unsent.popleft()
            self._sent_at = time.monotonic()

    def note(self, handle: KafkaProducerHandle) -> None:
        """Take the events that came back."""
        self.refused += handle.refused
        self.has_failed |= bool(handle.returned)
        handle.refused.clear()
        handle.returned.clear()


class SpillMode:
    """Writes waiting events to disk and sends the files, oldest first. For one thread."""

    def __init__(
        self, spill: Spill, waiting: EncodedQueue, handle: KafkaProducerHandle, losses: Losses
    ) -> None:
        self.is_on = False
        self.is_prompt = False  # Kafka answered the last files promptly
        self.spilled = 0  # events written to disk
        self.resent = 0  # events from disk that Kafka has acknowledged
        self._spill = spill
        self._waiting = waiting
        self._handle = handle
        self._losses = losses
        self._batch: SpilledBatch | None = None
        self._segments = 1  # how many to send at once
        self._read_at = 0.0  # when to read again, after a file could not be read

    @property
    def is_sending(self) -> bool:
        """Whether the handle holds events that are on disk as well."""
        return self._batch is not None

    def enter(self) -> None:
        """Switch to the disk, if the spill can take events now."""
        self.is_on = self._spill.takes_events

    def step(self) -> None:
        """Step 3 and 4: write what waits, and send the next files."""
        # While Kafka is prompt, events may wait a little: perhaps they can go to it directly.
        self.write(PROMPT_SECONDS if self.is_prompt else 0.0)
        if self._batch is None:
            if len(self._handle):  # events that were given to it directly
                return
            self._batch = self._next_batch()
        if self._batch is None:
            self._leave()
        else:
            self._batch.send(self._handle)

    def write(self, hold_seconds: float) -> None:
        """Write all waiting records to disk, if the first has waited for `hold_seconds`."""
        if not self._waiting or not self._spill.takes_events or self._waiting.age < hold_seconds:
            return
        busy = self._batch.segments if self._batch else ()
        while records := self._waiting.first(WRITE_EVENTS):
            kept, given_up = self._spill.write(records, busy)
            self._waiting.drop_first(kept)
            self.spilled += events_in(records[:kept])
            for segment in given_up:
                self._losses.add("spill_overwritten", segment.events, segment.last_sequence)
                self._losses.gaps.report_again(segment.gaps)
            if kept < len(records):
                break

    def _next_batch(self) -> SpilledBatch | None:
        if self._handle.is_paused or time.monotonic() < self._read_at:
            return None
        segments = self._spill.take(self._segments)
        try:
            return SpilledBatch(self._spill, segments) if segments else None
        except OSError:
            self._read_at = time.monotonic() + RETRY_SECONDS
            return None

    def _leave(self) -> None:
        """Step 6: send directly again once no file is left and Kafka is prompt.

        Also if nothing waits, or if the spill cannot take events.
        """
        can_leave = self.is_prompt or not self._waiting or not self._spill.takes_events
        if can_leave and self._spill.is_empty and not self._spill.adopt():
            self.is_on = False

    def take_reports(self) -> None:
        """See what became of the files that are being sent."""
        batch, handle = self._batch, self._handle
        if batch is None:
            return
        batch.note(handle)
        if handle.is_dead or batch.has_failed:
            self._retry()
        elif batch.is_sent and not len(handle):
            self._acknowledged(batch)

    def _retry(self) -> None:
        """Kafka refuses: a new handle sends the same files after a pause."""
        self._handle.take_back()
        self._handle.refused.clear()
        self._handle.pause()
        self._batch = None
        self._segments = 1
        self.is_prompt = False

    def _acknowledged(self, batch: SpilledBatch) -> None:
        """Step 5: delete the files."""
        self._batch = None
        self._segments = min(self._segments * 2, MAX_SEGMENTS)
        self.is_prompt = batch.seconds < PROMPT_SECONDS
        self.resent += batch.events - len(batch.refused)
        for segment in batch.segments:
            self._spill.remove(segment)
        self._losses.add("spill_damaged", batch.damaged, batch.last_sequence, own=batch.is_own)
        self._losses.add_refused(batch.refused, own=batch.is_own)

    def finish(self) -> None:
        """Write what waits. The files that were being sent stay: the handle holds nothing now."""
        self._batch = None
        self.write(0.0)

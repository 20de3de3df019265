"""Files of the spill that are being sent together: acknowledged or retried as one."""

import time
from collections import deque
from collections.abc import Sequence

from usagepipe.producer.delivery.kafka_producer_handle import KafkaProducerHandle, Refused
from usagepipe.producer.delivery.spill import Record, Segment, Spill, events_in


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
                found = spill.read(segment)
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

"""Files of the spill that are being sent, to be acknowledged or tried again as one."""

import time
from collections import deque
from collections.abc import Sequence

from confluent_kafka import KafkaException

from usagepipe.producer.handle import Handle
from usagepipe.producer.spill import Record, Segment, Spill
from usagepipe.schemas.gap import is_gap


class SpilledBatch:
    """Some segments on their way. Read once, when it is made; the files stay until they are
    acknowledged.

    Raises:
        OSError: the first one cannot be read now.
    """

    def __init__(self, spill: Spill, segments: Sequence[Segment]) -> None:
        """`segments` end before the first one that cannot be read now."""
        self.segments: list[Segment] = []
        self.is_own = spill.is_own(segments[0])
        self.damaged = 0  # events that could not be read
        self.refused: list[str] = []  # the error of each event that Kafka will never take
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
        self.events = sum(not is_gap(value) for _, value in self._unsent)
        self._sent_at = time.monotonic()

    @property
    def is_sent(self) -> bool:
        return not self._unsent

    @property
    def seconds(self) -> float:
        """Since the last event was given to librdkafka."""
        return time.monotonic() - self._sent_at

    def send(self, handle: Handle) -> None:
        """Give `handle` as many events as it takes."""
        while self._unsent:
            try:
                if not handle.produce(self._unsent[0]):
                    return
            except KafkaException as error:
                self.refused.append(str(error.args[0].name()))
            self._unsent.popleft()
            self._sent_at = time.monotonic()

    def note(self, handle: Handle) -> None:
        """Take what has come back."""
        self.refused += handle.refused
        self.has_failed |= bool(handle.returned)
        handle.refused.clear()
        handle.returned.clear()

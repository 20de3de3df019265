"""Counts and logs lost events, and reports them on the topic with gap records.

A gap record names the number of the last lost event, noted at the moment of the loss. It does not
name the last number given out when the record is made: events with numbers in between may still be
in flight, and an audit must not miss them.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from usagepipe.producer.delivery.kafka_producer_handle import Refused
from usagepipe.producer.delivery.spill import Record
from usagepipe.producer.process.native import RLock
from usagepipe.producer.process.safe_log import log
from usagepipe.producer.telemetry.counters import Counters, DropReason
from usagepipe.schemas.event import EARLIEST, LATEST
from usagepipe.schemas.gap import UsageGap, decode_gap, encode_gap

TOO_LARGE: Final = "MSG_SIZE_TOO_LARGE"
_LATEST: Final = LATEST - timedelta(milliseconds=1)


class GapReporter:
    """Collects losses from any thread; one thread takes the gap records."""

    def __init__(self, producer_id: str) -> None:
        self.is_pending = False  # there are losses that Kafka may not know of
        self._producer_id = producer_id
        self._lock = RLock()  # a signal handler may record while its thread holds the lock
        self._made_at = -math.inf
        self._forget()

    def _forget(self) -> None:
        self._lost: Counter[str] = Counter()
        self._last_sequence = 0
        self._since, self._until = _LATEST, EARLIEST

    def lost(self, reason: str, events: int, last_sequence: int) -> None:
        """Note lost events of this process, with the greatest of their numbers."""
        # A clock that is wrong by decades (a machine that boots) must not prevent the report.
        now = min(max(datetime.now(UTC), EARLIEST), _LATEST)
        with self._lock:
            self._note({reason: events}, last_sequence, now, now)

    def next_record(self, pause_seconds: float) -> Record | None:
        """A gap record of the losses since the last one. None if there are none, or if the last
        one is less than `pause_seconds` old."""
        now = time.monotonic()
        if not self._lost or now < self._made_at + pause_seconds:
            return None
        self._made_at = now
        with self._lock:
            gap = UsageGap(
                producer_id=self._producer_id,
                last_sequence=self._last_sequence,
                lost=dict(self._lost),
                since=self._since,
                until=self._until,
            )
            value = encode_gap(gap)
            self._forget()
        return self._producer_id.encode(), value

    def report_again(self, records: Iterable[Record]) -> None:
        """Gap records among `records` will not arrive: report their losses again, soon."""
        for _, value in records:
            if (gap := decode_gap(value)) is not None:
                self._made_at = -math.inf
                with self._lock:
                    self._note(gap.lost, gap.last_sequence, gap.since, gap.until)

    def arrived(self) -> None:
        """All gap records made so far are in Kafka."""
        with self._lock:
            self.is_pending = bool(self._lost)

    def _note(
        self, lost: Mapping[str, int], last_sequence: int, since: datetime, until: datetime
    ) -> None:
        self._lost.update(lost)
        self._last_sequence = max(self._last_sequence, last_sequence)
        self._since, self._until = min(self._since, since), max(self._until, until)
        self.is_pending = True


class Losses:
    """The losses of one process. All but `add_unaccepted` is for the delivery thread."""

    def __init__(self, producer_id: str, counters: Counters) -> None:
        self.counters = counters
        self.gaps = GapReporter(producer_id)
        self.own = 0  # accepted events of this process
        self.last_taken = 0  # number of the last event that the thread has taken

    def add_unaccepted(self, reason: DropReason, number: int) -> None:
        """Count an event that was not accepted. Any thread may call this."""
        if reason != "closed":  # such an event has no number, so there is no gap
            self.gaps.lost(reason, 1, number)
        self._count(reason, 1)

    def add(
        self, reason: DropReason, events: int, last: int, detail: str = "", *, own: bool = True
    ) -> None:
        """Count accepted events that were lost.

        `last` is the greatest of their numbers; 0 means unknown: they are among those taken so far.
        Events of a dead process are not `own`: they do not count among this process' events.
        """
        if not events:
            return
        if own:
            self._note(reason, events, last)
        self._count(reason, events, detail=detail)

    def add_refused(self, refused: Sequence[Refused], *, own: bool = True) -> None:
        """Count events that Kafka will never accept."""
        for number, error in refused:
            reason: DropReason = "too_large" if error == TOO_LARGE else "delivery_failed"
            self.add(reason, 1, number, error, own=own)

    def add_left_over(self, numbers: Sequence[int]) -> None:
        """Count the events that are left when the recorder closes, which logs them itself."""
        if numbers:
            self._note("delivery_failed", len(numbers), max(numbers))
            self.counters.drop("delivery_failed", len(numbers))

    def _note(self, reason: DropReason, events: int, last: int) -> None:
        self.gaps.lost(reason, events, last or self.last_taken)
        self.own += events

    def _count(self, reason: DropReason, events: int, **facts: str) -> None:
        if self.counters.drop(reason, events):
            dropped = self.counters.dropped
            log.warning("usage_events_dropped", reason=reason, **facts, dropped=dropped)

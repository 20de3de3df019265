"""Collects the losses that Kafka does not know of yet, and makes gap records that report them.

A gap record names the number of the last lost event, noted at the moment of the loss. It does not
name the last number given out when the record is made: events with numbers in between may still be
in flight, and an audit must not miss them.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from usagepipe.producer.delivery.spill import Record
from usagepipe.producer.process.native import RLock
from usagepipe.schemas.event import EARLIEST, LATEST
from usagepipe.schemas.gap import UsageGap, decode_gap, encode_gap

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
            self._forget()
        return self._producer_id.encode(), encode_gap(gap)

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

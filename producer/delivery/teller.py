"""What this process has lost and Kafka has not been told yet, and the gap records that tell it.

The last number that a record tells of is that of the last lost event, noted when it is lost, and
not the last one that was given when the record is made: events with numbers in between may still
be on their way, and an audit must not miss them.
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


class Teller:
    """Gathers losses from any thread; one thread takes the records."""

    def __init__(self, producer_id: str) -> None:
        self.is_telling = False  # there are losses that are not known to be with Kafka
        self._producer_id = producer_id
        self._lock = RLock()  # a signal's handler may record while its thread holds it
        self._made_at = -math.inf
        self._forget()

    def _forget(self) -> None:
        self._lost: Counter[str] = Counter()
        self._last_sequence = 0
        self._since, self._until = _LATEST, EARLIEST

    def lost(self, reason: str, events: int, last_sequence: int) -> None:
        """Note events of this process that are lost, with the greatest of their numbers."""
        # A clock that is wrong by decades (a machine that boots) must not keep this from being told
        now = min(max(datetime.now(UTC), EARLIEST), _LATEST)
        with self._lock:
            self._note({reason: events}, last_sequence, now, now)

    def take(self, pause_seconds: float) -> Record | None:
        """A gap record of what was lost since the last one; None where nothing was, or where that
        is less than `pause_seconds` ago."""
        now = time.monotonic()
        if not self._lost or now < self._made_at + pause_seconds:
            return None
        self._made_at = now
        with self._lock:
            value = encode_gap(self._gap())
            self._forget()
        return self._producer_id.encode(), value

    def take_back(self, records: Iterable[Record]) -> None:
        """Gap records among `records` will not arrive: what they tell is to be told again, soon."""
        for _, value in records:
            if (gap := decode_gap(value)) is not None:
                self._made_at = -math.inf
                with self._lock:
                    self._note(gap.lost, gap.last_sequence, gap.since, gap.until)

    def settle(self) -> None:
        """All that was taken is with Kafka."""
        with self._lock:
            self.is_telling = bool(self._lost)

    def _note(
        self, lost: Mapping[str, int], last_sequence: int, since: datetime, until: datetime
    ) -> None:
        self._lost.update(lost)
        self._last_sequence = max(self._last_sequence, last_sequence)
        self._since, self._until = min(self._since, since), max(self._until, until)
        self.is_telling = True

    def _gap(self) -> UsageGap:
        return UsageGap(
            producer_id=self._producer_id,
            last_sequence=self._last_sequence,
            lost=dict(self._lost),
            since=self._since,
            until=self._until,
        )

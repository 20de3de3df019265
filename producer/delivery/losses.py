"""Counts and logs lost events, and has a gap record report them."""

from collections.abc import Sequence
from typing import Final

from usagepipe.producer.delivery.gap_reporter import GapReporter
from usagepipe.producer.delivery.kafka_producer_handle import Refused
from usagepipe.producer.process.safe_log import log
from usagepipe.producer.telemetry.counters import Counters, DropReason

TOO_LARGE: Final = "MSG_SIZE_TOO_LARGE"


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

"""The numbers of a process, and the meter to which it reports them as they change.

`metrics.py` has the meter for Prometheus. It is imported only if the setting `metrics` is set.
"""

from typing import NamedTuple

from usagepipe.schemas.event import UsageEvent


class DeliveryNumbers(NamedTuple):
    """A consistent snapshot: sums since the process began, and what there is now."""

    recorded: int = 0  # events that were accepted
    delivered: int = 0  # of these, acknowledged by Kafka; never too many
    lost: int = 0  # of these, lost after they were accepted
    kept: int = 0  # of these, on disk now
    settled: int = 0  # delivered, lost or kept: they need no memory any more
    spilled: int = 0  # of these, written to disk because Kafka did not take them
    resent: int = 0  # events from disk that Kafka has acknowledged, of dead processes too
    spill_bytes: int = 0  # on disk now
    oldest_seconds: float = 0.0  # how long the oldest event has waited for Kafka, about

    @property
    def in_memory(self) -> int:
        """Events that only this process holds."""
        return max(0, self.recorded - self.settled)


class Meter:
    """Receives the numbers of one process, from any thread. No method raises.

    This one reports nothing.
    """

    def tokens(self, event: UsageEvent) -> None:
        """Count the tokens of a recorded event."""

    def delivery(self, numbers: DeliveryNumbers) -> None:
        """Take the latest numbers of the delivery. Only one thread calls this."""

    def ended(self) -> None:
        """The process holds no events any more: they are in Kafka, on disk or given up."""

    def dropped(self, reason: str, events: int) -> None:
        """Count lost events."""

    def unrecorded(self, endpoint: str, reason: str) -> None:
        """Count a request of which no token is recorded. `endpoint` is a bounded label."""

    def added(self, seconds: float) -> None:
        """Note how many seconds our code added to a request."""

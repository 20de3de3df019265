"""The numbers of one process' delivery, as the delivery thread publishes them."""

from typing import NamedTuple


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

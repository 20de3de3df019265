"""Which log was read, and how far: an offset and the leader epoch of the record before it.

Kafka numbers the leaderships of a partition (leader epochs, KIP-101). Two logs with a record of the
same epoch at the same offset are equal up to it.
"""

from typing import Final, NamedTuple

UNKNOWN_EPOCH: Final = -1  # of a record whose batch does not name its leader epoch


class EpochEnd(NamedTuple):
    """The offset after the last record of `leader_epoch` in a log.

    `leader_epoch` is the requested epoch, or the last one before it if the log has none of it.
    """

    leader_epoch: int
    offset: int


class Lineage(NamedTuple):
    """How far a log was read: up to `offset`, and the record before it has `leader_epoch`."""

    offset: int
    leader_epoch: int

    def end_in(self, found: EpochEnd | None) -> int | None:
        """The end of the part that a log has in common with what was read; None: all, or unknown.

        `found` is where the log ends `leader_epoch`.
        """
        if found is None or UNKNOWN_EPOCH in (self.leader_epoch, found.leader_epoch):
            return None
        if found.leader_epoch != self.leader_epoch:
            return 0  # unknown how much of the earlier epochs is the same
        return None if found.offset >= self.offset else found.offset

"""Limits the memory that all partition workers of a process hold together.

One half is for waiting records, still compressed. Any partition worker may use a common quarter:
with skewed keys, one partition has most of the records. When the common quarter is used up, each
partition worker may still hold an equal share of the other quarter.

The other half is for batches, from their unpacking until they are stored. Partition workers take
turns for it, so batches stay large when many partitions have a backlog.
"""

import asyncio
from collections import deque


class MemoryBudget:
    """Counts bytes of records that wait and of those in work."""

    def __init__(self, size: int, workers: int) -> None:
        self._common = size // 4
        self._share = max(1, self._common // max(1, workers))
        self.waiting = 0  # bytes of records, still compressed
        self._most_in_work = size // 2
        self.in_work = 0  # bytes of batches, unpacked
        self._turns: deque[asyncio.Event] = deque()

    def add(self, size: int) -> None:
        """Records came in, or (below 0) were stored or given up."""
        self.waiting += size

    def has_room(self, held: int) -> bool:
        """Whether a partition worker that holds `held` bytes may take more."""
        return self.waiting < self._common or held < self._share

    def take_turn(self, size: int, turn: asyncio.Event) -> bool:
        """Whether the partition worker with the event `turn` may unpack `size` bytes: `begin` next.

        If not, the event is set when the caller should ask again, or `give_up`.
        """
        if turn not in self._turns:
            self._turns.append(turn)
        # A batch that is larger than the limit is in work alone.
        fits = not self.in_work or self.in_work + size <= self._most_in_work
        if not fits or self._turns[0] is not turn:
            return False
        self._turns.popleft()
        self._call_next()
        return True

    def give_up(self, turn: asyncio.Event) -> None:
        """Leave the queue of partition workers that wait for their turn."""
        if turn in self._turns:
            self._turns.remove(turn)
            self._call_next()

    def begin(self, size: int) -> None:
        """`size` bytes are being unpacked."""
        self.in_work += size

    def end(self, size: int) -> None:
        """They are stored, or given up."""
        self.in_work -= size
        self._call_next()

    def _call_next(self) -> None:
        if self._turns:
            self._turns[0].set()

"""Limits the memory that all partition workers of a process hold together.

One half is for records as they came, which wait; with skewed keys one partition has most of them,
so its partition worker may fill half of that half while the others need little. When it is used up,
each partition worker keeps to an equal share of the rest. The other half is for batches that are
unpacked, from then until they are stored: for these partition workers take turns, and so their
batches are large even where many partition workers have a backlog.
"""

import asyncio
from collections import deque


class MemoryBudget:
    """Counts bytes of records that wait and of those in work."""

    def __init__(self, size: int, workers: int) -> None:
        self._common = size // 4
        self._share = max(1, self._common // max(1, workers))
        self.waiting = 0  # bytes of records, as they came
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

        If not, the event is set when it is worth asking again; `give_up` what is not wanted then.
        """
        if turn not in self._turns:
            self._turns.append(turn)
        # What is larger than all there may be goes alone.
        fits = not self.in_work or self.in_work + size <= self._most_in_work
        if not fits or self._turns[0] is not turn:
            return False
        self._turns.popleft()
        self._call_next()
        return True

    def give_up(self, turn: asyncio.Event) -> None:
        """Ask no more."""
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

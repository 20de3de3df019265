"""Bounds what the lanes of a worker hold in memory together, without giving each the same.

With skewed keys one partition has most of the events: its lane may fill half of the buffer while
the others need little. When that half is used up, each lane keeps to an equal share of the rest.
"""


class Buffer:
    """Counts bytes of records, from their arrival until they are stored."""

    def __init__(self, size: int, lanes: int) -> None:
        self._common = size // 2
        self.share = max(1, self._common // max(1, lanes))
        self._held = 0

    def add(self, size: int) -> None:
        """Records arrived, or (below 0) were stored or given up."""
        self._held += size

    def has_room(self, held: int) -> bool:
        """Whether a lane that holds `held` bytes may take more."""
        return self._held < self._common or held < self.share

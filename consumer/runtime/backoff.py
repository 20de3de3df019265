"""How long to wait before trying a server again: longer each time, bounded, with jitter.

The jitter keeps workers that lost the same server from coming back to it all at once.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first` to `most` seconds, each somewhere in its upper half."""

    first: float
    most: float

    def delays(self) -> Iterator[float]:
        delay = self.first
        while True:
            yield random.uniform(delay / 2, delay)
            delay = min(delay * 2, self.most)


# A server that restarts is back in seconds: look again often enough to be there soon after.
SERVER_AWAY = Backoff(first=0.1, most=3.0)

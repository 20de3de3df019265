"""Whether the worker does its work: what `/health` says, and what the watchdog acts on."""

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Trouble:
    """A server that fails at the moment."""

    since: float  # monotonic seconds
    tries: int
    error: str


@dataclass
class Health:
    """The state of one worker, written by its parts and read by its web page."""

    started_at: float = field(default_factory=time.monotonic)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    partitions: int = 0
    assigned: bool = False
    stopping: bool = False
    last_stored_at: float | None = None
    refusal: str | None = None  # why the worker ends by itself

    def failed(self, server: str, error: BaseException) -> None:
        """Note that an attempt at `server` failed. The error's class is told, never its text."""
        trouble = self.troubles.setdefault(server, Trouble(time.monotonic(), 0, ""))
        trouble.tries += 1
        trouble.error = type(error).__name__

    def succeeded(self, server: str) -> None:
        """Note that `server` did what it was asked to."""
        self.troubles.pop(server, None)

    def refuse(self, reason: str) -> None:
        """Note that the worker must not go on: it ends, and says `reason`."""
        self.refusal = self.refusal or reason

    def stored(self) -> None:
        """Note that a batch was stored."""
        self.last_stored_at = time.monotonic()

    @property
    def state(self) -> str:
        """`starting`, `running`, `degraded` (a server fails), `refused` or `stopping`."""
        if self.refusal is not None:
            return "refused"
        if self.stopping:
            return "stopping"
        if self.troubles:
            return "degraded"
        return "running" if self.assigned else "starting"

    def report(self) -> dict[str, Any]:
        """What `/health` answers. Seconds are ages."""
        now = time.monotonic()
        return {
            "state": self.state,
            "uptime_seconds": round(now - self.started_at, 1),
            "partitions": self.partitions,
            "refusal": self.refusal,
            "waiting_for": None if self.assigned else "the group's assignment of partitions",
            "seconds_since_stored": self.last_stored_at and round(now - self.last_stored_at, 1),
            "troubles": {
                server: {
                    "for_seconds": round(now - trouble.since, 1),
                    "tries": trouble.tries,
                    "error": trouble.error,
                }
                for server, trouble in self.troubles.items()
            },
        }

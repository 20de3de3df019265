"""Whether the worker does its work: what `/health` says, and what the watchdog acts on.

An error is reported by its class, or by ClickHouse's code, and by its cause (`causes`): its text
quotes rows.
"""

import os
import socket
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.runtime.causes import Cause, cause_of
from usagepipe.schemas.errors import CheckFailedError


class ParkedPartition(Protocol):
    """A partition that waits for an operator (`parking.parked.Parked`)."""

    @property
    def partition(self) -> TopicPartition: ...
    def fields(self) -> dict[str, Any]: ...


def worker_name() -> str:
    """What other processes call this worker: its host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass
class Trouble:
    """A server that fails at the moment."""

    since: float  # monotonic seconds
    cause: Cause  # of the last failure
    tries: int = 0
    places: set[str] = field(default_factory=set)  # where it fails: batches, mostly
    locked_out_since: float | None = None  # the server does not let this worker in


@dataclass
class Health:
    """The state of one worker, written by its parts and read by its web page."""

    started_at: float = field(default_factory=time.monotonic)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    parked: dict[TopicPartition, ParkedPartition] = field(default_factory=dict)
    partitions: int = 0
    assigned: bool = False
    admitted: bool = True  # may be in the group: ClickHouse lets it in (`admission`)
    stopping: bool = False
    last_stored_at: float | None = None
    prices: str | None = None  # which costs rows get: rule and version of the price book
    refusal: str | None = None  # why the worker ends by itself
    exit_status: int = CheckFailedError.exit_status  # of a worker that ends so

    def failed(self, server: str, error: Exception, where: str = "") -> None:
        """Note that an attempt at `server` failed; `where` names what is tried again."""
        cause = cause_of(error)
        trouble = self.troubles.setdefault(server, Trouble(time.monotonic(), cause))
        trouble.tries += 1
        trouble.cause = cause
        trouble.places.add(where)
        if cause.locked_out and trouble.locked_out_since is None:
            trouble.locked_out_since = time.monotonic()

    def succeeded(self, server: str, where: str = "") -> None:
        """Note that `server` did what it was asked to, or that nobody asks for it any more.

        The trouble is over when it is over everywhere: an answered look-up does not mean that
        inserts are accepted.
        """
        trouble = self.troubles.get(server)
        if trouble is not None:
            trouble.places.discard(where)
            if not trouble.places:
                del self.troubles[server]

    def refuse(self, reason: str, exit_status: int = CheckFailedError.exit_status) -> None:
        """Note that the worker must not continue: it ends and logs the first `reason`."""
        if self.refusal is None:
            self.refusal, self.exit_status = reason, exit_status

    def park(self, parked: ParkedPartition) -> None:
        """Note that a partition is parked: it waits for an operator; the others continue."""
        self.parked[parked.partition] = parked

    def unpark(self, partition: TopicPartition) -> None:
        """Note that a partition is not parked, or is not this worker's any more."""
        self.parked.pop(partition, None)

    def stored(self) -> None:
        """Note that a batch was stored."""
        self.last_stored_at = time.monotonic()

    @property
    def locked_out_seconds(self) -> float:
        """How long a server has not let this worker in; 0 when all do."""
        since = [each.locked_out_since for each in self.troubles.values()]
        first = min((moment for moment in since if moment is not None), default=None)
        return 0.0 if first is None else time.monotonic() - first

    @property
    def waiting_for(self) -> str | None:
        """What the worker waits for before it has partitions; None while it has some."""
        if not self.admitted:
            return "ClickHouse: this worker joins the group when its inserts are taken"
        return None if self.assigned else "the group's assignment of partitions"

    @property
    def state(self) -> str:
        """`starting`, `running`, `degraded`, `refused` or `stopping`.

        Degraded: a server fails, or a partition is parked.
        """
        if self.refusal is not None:
            return "refused"
        if self.stopping:
            return "stopping"
        if self.troubles or self.parked:
            return "degraded"
        return "starting" if self.waiting_for else "running"

    def report(self) -> dict[str, Any]:
        """What `/health` answers. Seconds are ages."""
        now = time.monotonic()
        return {
            "state": self.state,
            "uptime_seconds": round(now - self.started_at, 1),
            "partitions": self.partitions,
            "refusal": self.refusal,
            "waiting_for": self.waiting_for,
            "prices": self.prices,
            "seconds_since_stored": self.last_stored_at and round(now - self.last_stored_at, 1),
            "troubles": {
                server: {
                    "for_seconds": round(now - trouble.since, 1),
                    "tries": trouble.tries,
                    "kind": trouble.cause.kind,
                    "error": trouble.cause.error,
                    "why": trouble.cause.why,
                }
                for server, trouble in self.troubles.items()
            },
            "parked": [self.parked[partition].fields() for partition in sorted(self.parked)],
        }

"""Counts what became of each request and event. No loss goes uncounted.

For this process' own events, `recorded` = `delivered` + `queued` + those dropped afterwards.
Events dropped as `queue_full`, `spill_full` or `closed` were never accepted. Each watched request
either became an event with tokens, or counts once in `unrecorded`; calls that a provider redirects
count as neither, because the next call counts. Unrecorded requests whose tokens are unknown become
events of zero tokens as well, if the setting `record` asks for it.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Literal

from usagepipe.producer.process.native import RLock
from usagepipe.producer.telemetry.meters import Meter
from usagepipe.schemas.event import MAX_NAME_CHARS, clip

DropReason = Literal[
    "queue_full",  # Kafka is unreachable or slow, the queue is full and there is no spill
    "spill_full",  # the same, and the spill on disk is full as well
    "spill_overwritten",  # deleted from the spill for newer events (spill_policy=oldest)
    "spill_damaged",  # written to the spill and unreadable now: a crash while writing, a bad disk
    "too_large",  # larger than the topic allows
    "delivery_failed",  # accepted, then refused by Kafka or left over when the recorder closed
    "invalid",  # cannot be encoded: the event was made without validation
    "closed",  # recorded after close()
    "record_failed",  # anything else; the log names the error
]
UnrecordedReason = Literal[
    "no_user",  # identify returned nobody
    # The tokens are unknown:
    "no_usage",  # neither a stamp nor usage in the answer
    "parse_failed",  # the answer claims to be JSON and is not, or was cut
    "too_large",  # the answer unpacks to more bytes than any real answer has
    "compressed",  # the answer is compressed: put UsageMiddleware inside the compression
    "failed",  # the request failed
    "cancelled",  # the client disconnected before usage came, or while identify ran
    # Something went wrong:
    "identify_failed",  # the identify hook raised
    "invalid",  # ids, stamped values or tags break the contract; the log names the fields
    "record_failed",  # anything else; the log names the error
]

MAX_ENDPOINTS = 1_000  # clients choose the paths
OTHER = "(other)"  # the label of every text beyond a limit
WARN_EVERY = 1_024


@dataclass(frozen=True, slots=True)
class CountersSnapshot:
    """The numbers of one process at one moment. `dataclasses.asdict` makes JSON of it."""

    recorded: int  # events that record() accepted
    delivered: int  # of these, acknowledged by Kafka
    queued: int  # of these, neither delivered nor lost
    dropped: dict[str, int]  # by DropReason
    unrecorded: dict[str, dict[str, int]]  # requests by endpoint, then UnrecordedReason
    spilled: int = 0  # of these, written to disk because Kafka did not take them
    resent: int = 0  # events from disk that Kafka has acknowledged, of dead processes too
    spill_bytes: int = 0  # on disk now
    oldest_unsent_seconds: float = 0.0  # how long the oldest event has waited for Kafka, about


class BoundedLabels:
    """At most `limit` different texts of `chars` characters each; the rest becomes `OTHER`.

    Without the bounds, paths and model names could fill the memory. A lone surrogate in one of
    them would break `/metrics` for good, so it is replaced.
    """

    def __init__(self, limit: int, chars: int) -> None:
        self._limit = limit
        self._chars = chars
        self._known: set[str] = set()

    def of(self, text: str) -> str:
        """The label for `text`."""
        label = clip(text, self._chars)
        if label not in self._known:
            if len(self._known) >= self._limit:
                return OTHER
            self._known.add(label)
        return label


class Counters:
    """The counts of one process. Threads share it."""

    def __init__(self, meter: Meter | None = None) -> None:
        self.meter = meter or Meter()
        self._lock = RLock()  # a signal handler may record while its thread holds the lock
        self._dropped: Counter[str] = Counter()
        self._dropped_total = 0
        self._unrecorded: defaultdict[str, Counter[str]] = defaultdict(Counter)  # by endpoint
        self._unrecorded_total: Counter[str] = Counter()
        self._endpoints = BoundedLabels(MAX_ENDPOINTS, MAX_NAME_CHARS)

    def drop(self, reason: DropReason, events: int = 1) -> bool:
        """Count lost events. True if they include the 1st, 1025th, 2049th …: log a warning then."""
        with self._lock:
            before = self._dropped_total
            self._dropped[reason] += events
            after = self._dropped_total = before + events
        self.meter.dropped(reason, events)
        return (before - 1) // WARN_EVERY != (after - 1) // WARN_EVERY

    def leave_out(self, endpoint: str, reason: UnrecordedReason) -> bool:
        """Count a request of which no token is recorded. True if it should be logged."""
        with self._lock:
            label = self._endpoints.of(endpoint)
            self._unrecorded[label][reason] += 1
            self._unrecorded_total[reason] += 1
            total = self._unrecorded_total[reason]
        self.meter.unrecorded(label, reason)
        return total % WARN_EVERY == 1

    @property
    def dropped(self) -> dict[str, int]:
        with self._lock:
            return dict(self._dropped)

    @property
    def unrecorded(self) -> dict[str, dict[str, int]]:
        with self._lock:
            return {endpoint: dict(reasons) for endpoint, reasons in self._unrecorded.items()}

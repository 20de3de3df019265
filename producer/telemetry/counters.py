"""What became of each request and event, as numbers. Nothing is lost without being counted here.

`recorded` = `delivered` + `queued` + what was dropped afterwards, of this process' own events;
`queue_full`, `spill_full` and `closed` are events that were never accepted. Each request that is
watched is an event with tokens given to the recorder, or one in `unrecorded`; a call that a
provider redirects is neither, as the next one counts. Of those in `unrecorded`, the ones whose
tokens are not known are events of zero tokens as well, where the setting `record` says so.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from usagepipe.producer.process.native import RLock
from usagepipe.producer.telemetry.meters import Meter
from usagepipe.producer.watching.events import clip
from usagepipe.schemas.event import MAX_NAME_CHARS

DropReason = Literal[
    "queue_full",  # Kafka is away or slow, the queue is at its bound and there is no spill
    "spill_full",  # the same, and the spill on disk is at its bound as well
    "spill_overwritten",  # given up in the spill for newer events (spill_policy=oldest)
    "spill_damaged",  # written to the spill and not readable again: torn by a crash, or a bad disk
    "too_large",  # larger than the topic takes
    "delivery_failed",  # accepted, then refused by Kafka or left over when the recorder closed
    "invalid",  # it cannot be encoded: an event made without its checks
    "closed",  # recorded after close()
    "record_failed",  # anything else; the log names the error
]
UnrecordedReason = Literal[
    "no_user",  # identify knew nobody
    # The tokens are not known:
    "no_usage",  # neither a stamp nor usage in the answer
    "parse_failed",  # the answer claims to be JSON and is not, or was cut
    "too_large",  # the answer unpacks to more than any answer has
    "compressed",  # the answer is compressed: put UsageMiddleware inside of the compression
    "failed",  # the request failed
    "cancelled",  # the client went away before usage came, or while the caller was looked up
    # Something went wrong:
    "identify_failed",  # the identify hook raised
    "invalid",  # ids, stamped values or tags break the contract; the log names the fields
    "record_failed",  # anything else; the log names the error
]

# Paths are the caller's to choose: without a bound, of their number and of each one's length, they
# would fill the memory; and a lone surrogate in one would end the metrics for good.
MAX_ENDPOINTS = 1_000
OTHER = "(other)"  # the rest
WARN_EVERY = 1_024


@dataclass(frozen=True, slots=True)
class CountersSnapshot:
    """The numbers of one process at one moment; `dataclasses.asdict` of it is JSON as it is."""

    recorded: int  # events that record() accepted
    delivered: int  # of these, acknowledged by Kafka
    queued: int  # of these, on their way
    dropped: dict[str, int]  # by DropReason
    unrecorded: dict[str, dict[str, int]]  # requests by endpoint, then UnrecordedReason
    spilled: int = 0  # of these, written to disk because Kafka did not take them
    resent: int = 0  # events from disk that Kafka has acknowledged, those of dead processes too
    spill_bytes: int = 0  # on disk now
    oldest_unsent_seconds: float = 0.0  # how long the oldest event has waited for Kafka, about


class Counters:
    """Counts, from any thread."""

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter or Meter()
        self._lock = RLock()  # a signal's handler may record while its thread holds it
        self._dropped: Counter[str] = Counter()
        self._dropped_total = 0
        self._unrecorded: Counter[tuple[str, str]] = Counter()
        self._unrecorded_total: Counter[str] = Counter()
        self._endpoints: set[str] = set()

    def drop(self, reason: DropReason, events: int = 1) -> bool:
        """Count lost events; whether the 1st, 1025th, 2049th … is among them: worth a warning."""
        with self._lock:
            before = self._dropped_total
            self._dropped[reason] += events
            after = self._dropped_total = before + events
        self._meter.dropped(reason, events)
        return (before - 1) // WARN_EVERY != (after - 1) // WARN_EVERY

    def leave_out(self, endpoint: str, reason: UnrecordedReason) -> bool:
        """Count a request of which no token is recorded; whether that is worth a log line."""
        with self._lock:
            label = self._label(endpoint)
            self._unrecorded[label, reason] += 1
            self._unrecorded_total[reason] += 1
            total = self._unrecorded_total[reason]
        self._meter.unrecorded(label, reason)
        return total % WARN_EVERY == 1

    def add_seconds(self, seconds: float) -> None:
        """Note what a request took longer, as it was watched."""
        self._meter.added(seconds)

    def _label(self, endpoint: str) -> str:
        endpoint = clip(endpoint, MAX_NAME_CHARS)
        if endpoint not in self._endpoints:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                return OTHER
            self._endpoints.add(endpoint)
        return endpoint

    @property
    def dropped(self) -> dict[str, int]:
        with self._lock:
            return dict(self._dropped)

    @property
    def unrecorded(self) -> dict[str, dict[str, int]]:
        with self._lock:
            counted = list(self._unrecorded.items())
        endpoints: dict[str, dict[str, int]] = {}
        for (endpoint, reason), requests in counted:
            endpoints.setdefault(endpoint, {})[reason] = requests
        return endpoints

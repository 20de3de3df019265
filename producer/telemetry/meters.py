"""Where a process tells its numbers to as they come about: nobody, unless the setting `metrics`
says so. What Prometheus makes of them is in `metrics.py`, which is imported then only.
"""

from typing import NamedTuple

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import Settings


class Progress(NamedTuple):
    """How far the events of one process have come: sums since it began, and what there is now."""

    recorded: int
    delivered: int
    spilled: int
    resent: int
    queued: int  # now, in memory
    spill_bytes: int  # now
    oldest_seconds: float  # now


class Meter:
    """Takes the numbers of one process and keeps none. Any thread may call."""

    def tokens(self, event: UsageEvent) -> None:
        """An event that was recorded."""

    def progress(self, progress: Progress) -> None:
        """How far the events are now. One thread calls."""

    def ended(self) -> None:
        """The events are in nobody's hands any more: with Kafka, on disk or given up."""

    def dropped(self, reason: str, events: int) -> None:
        """Events that were lost."""

    def unrecorded(self, endpoint: str, reason: str) -> None:
        """A request of which no token is recorded; `endpoint` is one of a bounded number."""

    def added(self, seconds: float) -> None:
        """What a request took longer, as it was watched."""


def meter_of(settings: Settings) -> Meter:
    """The meter for one process.

    Raises:
        MissingExtraError: metrics are wanted and prometheus-client is not installed.
        SettingsError: its folder for several processes cannot be written.
    """
    if not settings.metrics:
        return Meter()
    from usagepipe.producer.telemetry.metrics import PrometheusMeter, shared_metrics

    try:
        return PrometheusMeter(shared_metrics())
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        problem = f"USAGEPIPE_METRICS: PROMETHEUS_MULTIPROC_DIR cannot be written ({reason})."
        raise SettingsError((problem,)) from None

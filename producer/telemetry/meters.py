"""Where a process reports its numbers as they change: nowhere, unless `metrics` is set.

`metrics.py` reports them to Prometheus; it is imported only if the setting asks for it.
"""

from typing import Protocol

from usagepipe.producer.telemetry.delivery_numbers import DeliveryNumbers
from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import ProducerSettings


class Meter(Protocol):
    """Receives the numbers of one process, from any thread. No method raises."""

    def tokens(self, event: UsageEvent) -> None:
        """Count the tokens of a recorded event."""

    def delivery(self, numbers: DeliveryNumbers) -> None:
        """Take the latest numbers of the delivery. Only one thread calls this."""

    def ended(self) -> None:
        """The process holds no events any more: they are in Kafka, on disk or given up."""

    def dropped(self, reason: str, events: int) -> None:
        """Count lost events."""

    def unrecorded(self, endpoint: str, reason: str) -> None:
        """Count a request of which no token is recorded. `endpoint` is a bounded label."""

    def added(self, seconds: float) -> None:
        """Note how many seconds our code added to a request."""


class NoMeter:
    """A `Meter` that reports nothing."""

    def tokens(self, event: UsageEvent) -> None: ...
    def delivery(self, numbers: DeliveryNumbers) -> None: ...
    def ended(self) -> None: ...
    def dropped(self, reason: str, events: int) -> None: ...
    def unrecorded(self, endpoint: str, reason: str) -> None: ...
    def added(self, seconds: float) -> None: ...


def meter_of(settings: ProducerSettings) -> Meter:
    """The meter that the settings ask for.

    Raises:
        MissingExtraError: `metrics` is set and prometheus-client is not installed.
        SettingsError: its folder for several processes is not writable.
    """
    if not settings.metrics:
        return NoMeter()
    from usagepipe.producer.telemetry.metrics import PrometheusMeter, shared_metrics

    try:
        return PrometheusMeter(shared_metrics())
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        problem = f"USAGEPIPE_METRICS: PROMETHEUS_MULTIPROC_DIR cannot be written ({reason})."
        raise SettingsError((problem,)) from None

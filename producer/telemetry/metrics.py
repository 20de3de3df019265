"""Every metric of the producer, declared once with its meaning. No other can be emitted.

They live in prometheus-client's global registry: the `/metrics` of a service shows them, and with
`PROMETHEUS_MULTIPROC_DIR` it shows the sums over all workers of a server. Most are updated by the
delivery thread, so requests pay very little. An error of the registry (its folder is full, say)
costs numbers, never a request or an event.
"""

import os
from collections.abc import Callable
from functools import cache, partial, wraps
from typing import Concatenate, Final, ParamSpec

from usagepipe.producer.process.native import Lock
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.telemetry.counters import BoundedLabels
from usagepipe.producer.telemetry.meters import DeliveryNumbers, Meter
from usagepipe.schemas.errors import MissingExtraError
from usagepipe.schemas.event import MAX_ID_CHARS, UsageEvent

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as error:
    raise MissingExtraError("metrics", "prometheus_client") from error

Arguments = ParamSpec("Arguments")

KINDS: Final = ("prompt", "cached", "cache_write", "completion", "reasoning")  # of tokens
MAX_MODELS: Final = 1_000  # answers can name any model
# From the expected cost of a request (60 µs) up to an unacceptable one.
SECONDS: Final = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 1e-1)


class _Recorders:
    """The recorders of one process: the latest numbers of each, by meter."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.now: dict[object, DeliveryNumbers] = {}


class ProducerMetrics:
    """The metrics of web processes. Their names are part of the public contract."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        self.recorded = counter("usagepipe_events_recorded", "Events that were accepted.")
        self.delivered = counter(
            "usagepipe_events_delivered", "Accepted events that Kafka has acknowledged."
        )
        self.spilled = counter(
            "usagepipe_events_spilled", "Events written to disk because Kafka was unavailable."
        )
        self.resent = counter(
            "usagepipe_events_resent",
            "Events from disk that Kafka has acknowledged, of dead processes too.",
        )
        self.dropped = counter("usagepipe_events_dropped", "Events lost, by reason.", ["reason"])
        self.unrecorded = counter(
            "usagepipe_requests_unrecorded",
            "Requests of which no token was recorded, by endpoint and reason.",
            ["endpoint", "reason"],
        )
        self.tokens = counter(
            "usagepipe_tokens",
            "Tokens of recorded events by model and kind: prompt and its parts cached and"
            " cache_write, completion and its part reasoning.",
            ["model", "kind"],
        )
        self.queued = gauge(
            "usagepipe_queue_events",
            "Events in memory that Kafka has not acknowledged.",
            multiprocess_mode="livesum",
        )
        self.spill_bytes = gauge(
            "usagepipe_spill_bytes", "Bytes of events on disk now.", multiprocess_mode="livesum"
        )
        self.oldest_seconds = gauge(
            "usagepipe_oldest_unsent_seconds",
            "How long the oldest event has waited for Kafka.",
            multiprocess_mode="livemax",
        )
        self.added_seconds = Histogram(
            "usagepipe_added_seconds",
            "Seconds that usagepipe added to a request.",
            buckets=SECONDS,
            registry=registry,
        )
        # By process id: a forked child has none of its parent's recorders, and may inherit a held
        # lock.
        self._recorders: dict[int, _Recorders] = {}

    def show(self, meter: object, numbers: DeliveryNumbers | None) -> None:
        """Update the gauges, which cover all recorders of this process. None: `meter` ended."""
        recorders = self._recorders.setdefault(os.getpid(), _Recorders())
        with recorders.lock:
            recorders.now.pop(meter, None)
            if numbers is not None:
                recorders.now[meter] = numbers
            now = recorders.now.values()
            self.queued.set(sum(each.in_memory for each in now))
            self.spill_bytes.set(sum(each.spill_bytes for each in now))
            self.oldest_seconds.set(max((each.oldest_seconds for each in now), default=0.0))


@cache
def shared_metrics() -> ProducerMetrics:
    """The metrics in the global registry, which accepts each name once."""
    return ProducerMetrics()


def _harmless(
    report: Callable[Concatenate["PrometheusMeter", Arguments], None],
) -> Callable[Concatenate["PrometheusMeter", Arguments], None]:
    """Make a method suppress errors of the registry. The first one is logged."""

    @wraps(report)
    def reported(
        meter: "PrometheusMeter", /, *args: Arguments.args, **named: Arguments.kwargs
    ) -> None:
        try:
            report(meter, *args, **named)
        except Exception as error:
            if not meter.has_failed:
                log.error("metrics_failed", error=describe(error))
            meter.has_failed = True

    return reported


class PrometheusMeter(Meter):
    """Counts one process into `metrics`, which several processes may share."""

    def __init__(self, metrics: ProducerMetrics) -> None:
        self.metrics = metrics
        self.has_failed = False
        self._last = DeliveryNumbers()
        self._models = BoundedLabels(MAX_MODELS, MAX_ID_CHARS)

    @_harmless
    def tokens(self, event: UsageEvent) -> None:
        model = self._models.of(event.model or event.requested_model)
        for kind in KINDS:
            if tokens := getattr(event, f"{kind}_tokens"):
                self.metrics.tokens.labels(model, kind).inc(tokens)

    @_harmless
    def delivery(self, numbers: DeliveryNumbers) -> None:
        numbers = numbers._replace(oldest_seconds=round(numbers.oldest_seconds, 1))
        if numbers == self._last:
            return  # nothing happened: the usual case of an idle process
        last, self._last = self._last, numbers
        metrics = self.metrics
        metrics.recorded.inc(numbers.recorded - last.recorded)
        metrics.delivered.inc(numbers.delivered - last.delivered)
        metrics.spilled.inc(numbers.spilled - last.spilled)
        metrics.resent.inc(numbers.resent - last.resent)
        metrics.show(self, numbers)

    @_harmless
    def ended(self) -> None:
        self.metrics.show(self, None)

    @_harmless
    def dropped(self, reason: str, events: int) -> None:
        self.metrics.dropped.labels(reason).inc(events)

    @_harmless
    def unrecorded(self, endpoint: str, reason: str) -> None:
        self.metrics.unrecorded.labels(endpoint, reason).inc()

    @_harmless
    def added(self, seconds: float) -> None:
        self.metrics.added_seconds.observe(seconds)

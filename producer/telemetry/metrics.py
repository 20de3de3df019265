"""Every metric of the producer, declared once with its meaning. No other can be emitted.

They live in prometheus-client's global registry: the `/metrics` of a service shows them, and with
`PROMETHEUS_MULTIPROC_DIR` it shows the sums over all workers of a server. Most are updated by the
delivery thread, so requests pay very little. An error of the registry (its folder is full, say)
costs numbers, never a request or an event.
"""

import os
from functools import cache
from types import TracebackType
from typing import Final

from usagepipe.producer.process.native import Lock
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.telemetry.delivery_numbers import DeliveryNumbers
from usagepipe.producer.telemetry.labels import BoundedLabels
from usagepipe.schemas.errors import MissingExtraError
from usagepipe.schemas.event import MAX_ID_CHARS, UsageEvent

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as error:
    raise MissingExtraError("metrics", "prometheus_client") from error

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
        self.recorded = Counter(
            "usagepipe_events_recorded", "Events that were accepted.", registry=registry
        )
        self.delivered = Counter(
            "usagepipe_events_delivered",
            "Accepted events that Kafka has acknowledged.",
            registry=registry,
        )
        self.spilled = Counter(
            "usagepipe_events_spilled",
            "Events written to disk because Kafka was unavailable.",
            registry=registry,
        )
        self.resent = Counter(
            "usagepipe_events_resent",
            "Events from disk that Kafka has acknowledged, of dead processes too.",
            registry=registry,
        )
        self.dropped = Counter(
            "usagepipe_events_dropped", "Events lost, by reason.", ["reason"], registry=registry
        )
        self.unrecorded = Counter(
            "usagepipe_requests_unrecorded",
            "Requests of which no token was recorded, by endpoint and reason.",
            ["endpoint", "reason"],
            registry=registry,
        )
        self.tokens = Counter(
            "usagepipe_tokens",
            "Tokens of recorded events by model and kind: prompt and its parts cached and"
            " cache_write, completion and its part reasoning.",
            ["model", "kind"],
            registry=registry,
        )
        self.queued = Gauge(
            "usagepipe_queue_events",
            "Events in memory that Kafka has not acknowledged.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.spill_bytes = Gauge(
            "usagepipe_spill_bytes",
            "Bytes of events on disk now.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.oldest_seconds = Gauge(
            "usagepipe_oldest_unsent_seconds",
            "How long the oldest event has waited for Kafka.",
            multiprocess_mode="livemax",
            registry=registry,
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


class _Harmless:
    """A context manager that suppresses errors of the registry. It logs the first one."""

    def __init__(self) -> None:
        self._has_logged = False

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, Exception) and not self._has_logged:
            self._has_logged = True
            log.error("metrics_failed", error=describe(error))
        return isinstance(error, Exception)


class PrometheusMeter:
    """A `Meter` that counts one process into `metrics`, which several processes may share."""

    def __init__(self, metrics: ProducerMetrics) -> None:
        self._metrics = metrics
        self._last = DeliveryNumbers()
        self._models = BoundedLabels(MAX_MODELS, MAX_ID_CHARS)
        self._harmless = _Harmless()

    def tokens(self, event: UsageEvent) -> None:
        with self._harmless:
            model = self._models.of(event.model or event.requested_model)
            for kind, tokens in (
                ("prompt", event.prompt_tokens),
                ("cached", event.cached_tokens),
                ("cache_write", event.cache_write_tokens),
                ("completion", event.completion_tokens),
                ("reasoning", event.reasoning_tokens),
            ):
                if tokens:
                    self._metrics.tokens.labels(model, kind).inc(tokens)

    def delivery(self, numbers: DeliveryNumbers) -> None:
        numbers = numbers._replace(oldest_seconds=round(numbers.oldest_seconds, 1))
        if numbers == self._last:
            return  # nothing happened: the usual case of an idle process
        last, self._last = self._last, numbers
        metrics = self._metrics
        with self._harmless:
            metrics.recorded.inc(numbers.recorded - last.recorded)
            metrics.delivered.inc(numbers.delivered - last.delivered)
            metrics.spilled.inc(numbers.spilled - last.spilled)
            metrics.resent.inc(numbers.resent - last.resent)
            metrics.show(self, numbers)

    def ended(self) -> None:
        with self._harmless:
            self._metrics.show(self, None)

    def dropped(self, reason: str, events: int) -> None:
        with self._harmless:
            self._metrics.dropped.labels(reason).inc(events)

    def unrecorded(self, endpoint: str, reason: str) -> None:
        with self._harmless:
            self._metrics.unrecorded.labels(endpoint, reason).inc()

    def added(self, seconds: float) -> None:
        with self._harmless:
            self._metrics.added_seconds.observe(seconds)

"""Every metric of the producer, declared once with its meaning; nothing else can be emitted.

They are prometheus-client's own, in its global registry: a `/metrics` that a service has shows
them, and with `PROMETHEUS_MULTIPROC_DIR` it shows those of all workers of a server together.
A process tells them from the outbox's thread where it can, so requests hardly pay for them. A
registry that fails (its folder is full, say) costs numbers, never a request or an event.
"""

import os
from functools import cache
from types import TracebackType
from typing import Final

from usagepipe.producer.process.native import Lock
from usagepipe.producer.telemetry.counters import OTHER
from usagepipe.producer.telemetry.faults import describe, log
from usagepipe.producer.telemetry.meters import Meter, Progress
from usagepipe.producer.watching.events import clip
from usagepipe.schemas.errors import MissingExtraError
from usagepipe.schemas.event import MAX_ID_CHARS, UsageEvent

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as error:
    raise MissingExtraError("metrics", "prometheus_client") from error

MAX_MODELS: Final = 1_000  # answers may name whatever they like
# From what a request should cost (60 µs) to what nobody would forgive.
SECONDS: Final = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 1e-1)


class _Recorders:
    """Those of one process, by meter: what each has told of now."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.now: dict[object, Progress] = {}


class ProducerMetrics:
    """What web processes count. Names are part of the public contract."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.recorded = Counter(
            "usagepipe_events_recorded", "Events that were accepted.", registry=registry
        )
        self.delivered = Counter(
            "usagepipe_events_delivered",
            "Of these, events that Kafka has acknowledged.",
            registry=registry,
        )
        self.spilled = Counter(
            "usagepipe_events_spilled",
            "Events written to disk because Kafka did not take them.",
            registry=registry,
        )
        self.resent = Counter(
            "usagepipe_events_resent",
            "Events from disk that Kafka has acknowledged, those of dead processes too.",
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
            "Bytes of events on disk.",
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
            "Seconds that watching a request took.",
            buckets=SECONDS,
            registry=registry,
        )
        # By process id. A child has none of its parent's recorders, and may inherit a held lock.
        self._recorders: dict[int, _Recorders] = {}

    def show(self, meter: object, progress: Progress | None) -> None:
        """Have the gauges tell of all recorders of this process; None: that one has ended."""
        recorders = self._recorders.setdefault(os.getpid(), _Recorders())
        with recorders.lock:
            recorders.now.pop(meter, None)
            if progress is not None:
                recorders.now[meter] = progress
            now = recorders.now.values()
            self.queued.set(sum(each.queued for each in now))
            self.spill_bytes.set(sum(each.spill_bytes for each in now))
            self.oldest_seconds.set(max((each.oldest_seconds for each in now), default=0.0))


@cache
def shared_metrics() -> ProducerMetrics:
    """Those in the global registry, which takes each name once."""
    return ProducerMetrics()


class _Harmless:
    """Lets no error of the registry out of a `with`; the first one is told."""

    def __init__(self) -> None:
        self._has_told = False

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, Exception) and not self._has_told:
            self._has_told = True
            log.error("metrics_failed", error=describe(error))
        return isinstance(error, Exception)


class PrometheusMeter(Meter):
    """Counts one process into `metrics`, which several may share."""

    def __init__(self, metrics: ProducerMetrics) -> None:
        self._metrics = metrics
        self._last = Progress(0, 0, 0, 0, 0, 0, 0.0)
        self._models: set[str] = set()
        self._harmless = _Harmless()

    def tokens(self, event: UsageEvent) -> None:
        with self._harmless:
            model = self._label(event.model or event.requested_model)
            for kind, tokens in (
                ("prompt", event.prompt_tokens),
                ("cached", event.cached_tokens),
                ("cache_write", event.cache_write_tokens),
                ("completion", event.completion_tokens),
                ("reasoning", event.reasoning_tokens),
            ):
                if tokens:
                    self._metrics.tokens.labels(model, kind).inc(tokens)

    def progress(self, progress: Progress) -> None:
        if progress == self._last:
            return  # nothing happened: the usual case of an idle process
        last, self._last = self._last, progress
        metrics = self._metrics
        with self._harmless:
            metrics.recorded.inc(progress.recorded - last.recorded)
            metrics.delivered.inc(progress.delivered - last.delivered)
            metrics.spilled.inc(progress.spilled - last.spilled)
            metrics.resent.inc(progress.resent - last.resent)
            metrics.show(self, progress)

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

    def _label(self, model: str) -> str:
        model = clip(model, MAX_ID_CHARS)
        if model not in self._models:
            if len(self._models) >= MAX_MODELS:
                return OTHER
            self._models.add(model)
        return model

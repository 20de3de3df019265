"""For tests of applications: a recorder that keeps its events in a list and needs no Kafka."""

from usagepipe.producer.telemetry.counters import Counters
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import ProducerSettings


class MemoryRecorder:
    """Replaces a `UsageRecorder`. `events` has the recorded events in order."""

    def __init__(self, **options: object) -> None:
        self.settings = ProducerSettings.load(**options)
        self.counters = Counters()
        self.events: list[UsageEvent] = []

    def record(self, event: UsageEvent) -> bool:
        self.events.append(event)
        return True

    def start(self) -> None: ...

    def stop(self) -> int:
        return 0

    def flush(self, timeout: float | None = None) -> int:
        return 0

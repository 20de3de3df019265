"""What `record()` costs its caller, against a bare `Producer.produce` of the same bytes.

Both run in bursts, in turn, and each burst is acknowledged before the next. The caller's time is
what a request feels. The whole processor time, with encoding, librdkafka's threads and the
recorder's own, is told beside it: `record()` leaves the encoding to that thread.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Producer

from benchmarks.events import usage_events
from benchmarks.world import World
from usagepipe.producer import UsageRecorder
from usagepipe.producer.delivery.librdkafka import producer_config
from usagepipe.schemas import Settings
from usagepipe.schemas.codec import StampingEncoder

BURST: Final = 1_000  # events
BURSTS: Final = 50
WARM: Final = 5  # bursts before, not counted
SECONDS: Final = 30


@dataclass
class Costs:
    """Microseconds an event, burst by burst."""

    caller: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def add(self, work: Callable[[], object], flush: Callable[[float], int]) -> None:
        began, busy = time.perf_counter(), time.process_time()
        work()
        self.caller.append((time.perf_counter() - began) / BURST * 1e6)
        assert flush(SECONDS) == 0
        self.whole.append((time.process_time() - busy) / BURST * 1e6)


def measure_recording(world: World) -> dict[str, Any]:
    """Medians of the bursts, and their ratio."""
    settings = Settings.load(kafka=world.kafka.bootstrap, topic=world.topic())
    producer = Producer(producer_config(settings))
    encoder = StampingEncoder("bench")
    bare, ours = Costs(), Costs()
    with UsageRecorder(settings) as recorder:
        for number in range(WARM + BURSTS):
            named = usage_events(BURST, number, 1.2)  # after a producer; the recorder names its own
            events = [
                each.model_copy(update={"producer_id": "", "sequence": None}) for each in named
            ]
            records = [
                (encoder.encode(event, at), event.api_key_id.encode())
                for at, event in enumerate(events)
            ]

            def produce(records: list[tuple[bytes, bytes]] = records) -> None:
                for value, key in records:
                    producer.produce(settings.topic, value, key)

            def record(events: list[Any] = events) -> None:
                for event in events:
                    recorder.record(event)

            bare.add(produce, producer.flush)
            ours.add(record, recorder.flush)
    caller, peer = (statistics.median(costs.caller[WARM:]) for costs in (ours, bare))
    return {
        "us": caller,
        "bare_us": peer,
        "ratio": caller / peer,
        "whole_us": statistics.median(ours.whole[WARM:]),
        "bare_whole_us": statistics.median(bare.whole[WARM:]),
        "events": BURST * BURSTS,
    }

"""An unreachable Kafka, and processes that record meanwhile, for the tests of the spill."""

import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support import events
from tests.support.absent_kafka import AbsentKafka
from tests.support.apache_kafka import ApacheKafka
from tests.support.programs import Program, Programs
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.producer import UsageRecorder
from usagepipe.producer.delivery.spill.frames import read_frames
from usagepipe.schemas import UsageEvent, decode
from usagepipe.schemas.gap import decode_gap, is_gap

SECONDS: Final = 60  # on a busy machine

# Records at a rate until it is killed, and prints when each 100th event was recorded.
RECORD: Final = """
import json, sys, time
from usagepipe.producer import UsageRecorder
from usagepipe.schemas import UsageEvent
recorder = UsageRecorder()
rate = float(sys.argv[1])
began, number = time.monotonic(), 0
while True:
    number += 1
    assert recorder.record(UsageEvent.new(user_id=f"u-{number % 5}"))
    if number % 100 == 0:
        reported = {"at": time.monotonic(), "number": number, "id": recorder.producer_id,
                "delivered": recorder.snapshot().delivered,
                "spilled": recorder.snapshot().spilled, "resent": recorder.snapshot().resent}
        print(json.dumps(reported), flush=True)
    time.sleep(max(0.0, began + number / rate - time.monotonic()))
"""


@dataclass(frozen=True)
class Away:
    """A Kafka that is unreachable until `start`, and a topic of one partition with one order."""

    kafka: AbsentKafka | ApacheKafka
    topic: str
    folder: Path  # of the spill

    @property
    def settings(self) -> dict[str, Any]:
        return {"kafka": self.kafka.bootstrap, "topic": self.topic, "spill_dir": str(self.folder)}

    @property
    def environment(self) -> dict[str, str]:
        return {f"USAGEPIPE_{name.upper()}": value for name, value in self.settings.items()}

    def start(self) -> None:
        """Kafka is back."""
        self.kafka.start()

    def recorder(self, **options: Any) -> UsageRecorder:
        """A recorder in this process."""
        return UsageRecorder(**self.settings | options)

    def files(self) -> list[Path]:
        """The spilled segments of all processes."""
        walk = os.walk(self.folder)  # folders may go meanwhile
        return sorted(
            Path(at) / name for at, _, names in walk for name in names if ".spill" in name
        )

    def spilled(self) -> int:
        """How many events those hold."""
        return sum(len(read_frames(path.read_bytes()).records) for path in self.files())

    def deliver(self) -> UsageRecorder:
        """Kafka is back, and another process sends what it finds; that one's recorder, closed."""
        self.start()
        with self.recorder() as following:
            following.start()
            eventually(lambda: not self.files(), SECONDS, "the files to be sent")
        return following

    def numbers(self) -> dict[str, list[int]]:
        """The numbers of the events on the topic, by producer, in the order of the log."""
        found: dict[str, list[int]] = {}
        for record in read(self.kafka.bootstrap, self.topic):
            if is_gap(record.value):
                continue
            stored = decode(record.value)
            found.setdefault(stored.producer_id, []).append(stored.sequence or 0)
        return found

    def lost(self, producer_id: str) -> Counter[str]:
        """The losses in that producer's gap records on the topic, by reason."""
        records = read(self.kafka.bootstrap, self.topic)
        gaps = filter(None, map(decode_gap, {record.value for record in records}))
        reported = (Counter(gap.lost) for gap in gaps if gap.producer_id == producer_id)
        return sum(reported, Counter())


class Recording:
    """A process that records at a rate, to be killed."""

    def __init__(self, run_program: Programs, environment: dict[str, str], rate: int) -> None:
        python = Path(sys.executable).name
        arguments = ("-W", "error", "-c", RECORD, str(rate))
        self.program: Program = run_program(*arguments, program=python, environment=environment)

    def last(self, name: str) -> int:
        """The newest value it printed of `number`, `delivered`, `spilled` or `resent`."""
        lines = self._lines()
        return int(lines[-1][name]) if lines else 0

    def wait_for(self, name: str, least: int) -> None:
        """Return when the process has reported `least`."""
        eventually(lambda: self.last(name) >= least, SECONDS, lambda: self.program.tail())

    @property
    def producer_id(self) -> str:
        return str(self._lines()[-1]["id"])

    def kill(self) -> int:
        """kill -9; the number of the last event that is known to be a second old."""
        moment = time.monotonic()
        self.program.kill()
        return int(max(line["number"] for line in self._lines() if line["at"] < moment - 1.0))

    def _lines(self) -> list[dict[str, Any]]:
        lines = [line for line in self.program.stdout.splitlines() if line.startswith("{")]
        return [json.loads(line) for line in lines if line.endswith("}")]


def event(number: int = 0) -> UsageEvent:
    """An event of one of five users."""
    return events.event(user_id=f"u-{number % 5}")


def once(numbers: list[int]) -> list[int]:
    """The numbers as they came first. Twice is once: events are stored by their id."""
    return list(dict.fromkeys(numbers))


def is_whole(numbers: list[int]) -> bool:
    """Whether none is missing from 1 to the last."""
    return set(numbers) == set(range(1, max(numbers) + 1))

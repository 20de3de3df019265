"""Records events at a steady rate through the real recorder. Arguments: events/s, seconds."""

import sys
import time

from benchmarks.events import usage_events
from usagepipe.producer import UsageRecorder


def main(rate: int, seconds: int) -> None:
    """Record an event at each tick of the rate, made at that moment; deliver all."""
    recorder = UsageRecorder()
    events = usage_events(rate * seconds, seed=1, shape=1.2)
    began = time.monotonic()
    for number in range(rate * seconds):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        recorder.record(next(events))
    recorder.close()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))

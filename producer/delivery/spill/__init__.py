"""Events on disk while Kafka is unavailable: a bounded queue of small files for each process."""

from usagepipe.producer.delivery.spill.frames import Record, events_in, is_event, number_of
from usagepipe.producer.delivery.spill.segments import Segment
from usagepipe.producer.delivery.spill.spill import Spill

__all__ = ["Record", "Segment", "Spill", "events_in", "is_event", "number_of"]

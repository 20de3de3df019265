"""Events on disk while Kafka does not take them: a bounded queue of small files, one a process."""

from usagepipe.producer.delivery.spill.records import Record, events_in, is_event, number_of
from usagepipe.producer.delivery.spill.segments import Segment
from usagepipe.producer.delivery.spill.spill import Spill

__all__ = ["Record", "Segment", "Spill", "events_in", "is_event", "number_of"]

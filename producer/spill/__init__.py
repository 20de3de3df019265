"""Events on disk while Kafka does not take them: a bounded queue of small files, one a process."""

from usagepipe.producer.spill.frames import Record
from usagepipe.producer.spill.segments import Segment
from usagepipe.producer.spill.spill import Spill

__all__ = ["Record", "Segment", "Spill"]

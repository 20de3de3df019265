"""What a commit's metadata says: the range of offsets that is about to be inserted.

It is written before the insert and read by whoever owns the partition next. Foreign metadata
(another tool's, an older version's) is nothing pending: it is told in the log, never guessed at.
"""

import json
from dataclasses import asdict, dataclass
from typing import Final, Self

MAX_METADATA_BYTES: Final = 4_096  # Kafka's `offset.metadata.max.bytes`
_KEY: Final = "usagepipe"
_FORM: Final = 1


@dataclass(frozen=True, slots=True)
class Announcement:
    """The pending range `first` … `last` of a partition, and what else decides its bytes."""

    topic_id: str
    first: int
    last: int
    records: int
    epoch: int

    def encode(self) -> str:
        """The metadata of the commit that announces it."""
        return json.dumps({_KEY: _FORM, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def decode(cls, metadata: str) -> Self | None:
        """The announcement that `metadata` is; None for empty or foreign metadata.

        confluent-kafka ends metadata with a NUL.
        """
        try:
            fields = json.loads(metadata.rstrip("\0"))
            if fields.pop(_KEY, None) != _FORM:
                return None
            found = cls(**fields)
        except (ValueError, TypeError, AttributeError):
            return None
        return found if found._is_sound() else None

    def _is_sound(self) -> bool:
        numbers = (self.first, self.last, self.records, self.epoch)
        return (
            isinstance(self.topic_id, str)
            and all(type(number) is int and number >= 0 for number in numbers)
            and self.first <= self.last
        )

    def token(self, cluster: str, partition: int) -> str:
        """The name of the block: the same range of the same log, and nothing else, has it."""
        return f"{cluster}:{self.topic_id}:{partition}:{self.first}-{self.last}:{self.epoch}"

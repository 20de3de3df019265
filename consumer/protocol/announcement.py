"""What a commit's metadata says: of which topic the offset is, and which range is pending there.

A range is announced before it is inserted, and read by whoever owns the partition next. Foreign
metadata (another tool's) is nothing pending: it is told in the log, never guessed at.
"""

import json
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any, Final, Self

from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH
from usagepipe.consumer.protocol.skipped_duplicates import SkippedDuplicates
from usagepipe.schemas.settings.worker import MAX_BATCH_ROWS

MAX_METADATA_BYTES: Final = 4_096  # Kafka's `offset.metadata.max.bytes`
MAX_EPOCH: Final = 2**32 - 1  # the epoch of `maintenance.row_repair`
_KEY: Final = "usagepipe"
_FORM: Final = 1
_LEADER_EPOCH: Final = "leader_epoch"


@dataclass(frozen=True, slots=True)
class Announcement:
    """The pending range `first` … `last` of a partition, and what else decides its bytes."""

    topic_id: str
    first: int
    last: int
    records: int
    epoch: int
    skipped: SkippedDuplicates = field(default_factory=SkippedDuplicates)
    server: int = 0  # when ClickHouse was started (Unix seconds), as far as it was known
    # Of the events to be inserted; empty: not known. A log that lost its end gives the range to
    # other events, which the tables would take for a repetition under the same token.
    digest: str = ""
    leader_epoch: int = UNKNOWN_EPOCH  # of the record before it

    def encode(self) -> str:
        """The metadata of the commit that announces it."""
        return _encode(
            topic_id=self.topic_id,
            first=self.first,
            last=self.last,
            records=self.records,
            epoch=self.epoch,
            server=self.server,
            **({"ids": self.digest} if self.digest else {}),
            **_epoch_field(self.leader_epoch),
            **self.skipped.encode(self.first),
        )

    @classmethod
    def _of(cls, topic_id: str, fields: dict[str, Any], leader_epoch: int) -> Self:
        """Raises KeyError, TypeError or ValueError where `fields` are no announcement's."""
        numbers = [fields.pop(name) for name in ("first", "last", "records", "epoch")]
        numbers.append(fields.pop("server", 0))  # not known
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("numbers")
        first, last, records, epoch, server = numbers
        if not (first <= last and epoch < MAX_EPOCH):
            raise ValueError("range")
        # Fewer than offsets there may be: some hold no data. More there are never.
        if records > min(MAX_BATCH_ROWS, last - first + 1):
            raise ValueError("records")
        digest = fields.pop("ids", "")
        if not isinstance(digest, str):
            raise ValueError("ids")
        skipped = SkippedDuplicates.decode(fields, first, last, records)
        if fields:
            raise ValueError("fields")
        return cls(topic_id, first, last, records, epoch, skipped, server, digest, leader_epoch)

    def is_of(self, skipped: Set[int], digest: str) -> bool:
        """Whether it announced the events of that `digest`, without the offsets `skipped`."""
        return self.skipped.is_same(skipped) and self.digest in ("", digest)

    def token(self, cluster: str, partition: int) -> str:
        """The name of the block: the same events in the same range of a log, and nothing else."""
        name = f"{cluster}:{self.topic_id}:{partition}:{self.first}-{self.last}:{self.epoch}"
        return f"{name}:{self.digest}" if self.digest else name


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    """What a worker commits with an offset: the topic's id, and the range that it announced."""

    topic_id: str
    pending: Announcement | None = None
    leader_epoch: int = UNKNOWN_EPOCH  # of the record before the offset

    @classmethod
    def decode(cls, metadata: str) -> Self | None:
        """What `metadata` says; None for empty or foreign metadata.

        confluent-kafka ends metadata with a NUL.
        """
        try:
            fields = json.loads(metadata.rstrip("\0"))
            if fields.pop(_KEY, None) != _FORM:
                return None
            topic_id = fields.pop("topic_id")
            if not isinstance(topic_id, str):
                return None
            leader_epoch = fields.pop(_LEADER_EPOCH, UNKNOWN_EPOCH)
            if type(leader_epoch) is not int or leader_epoch < UNKNOWN_EPOCH:
                return None
            pending = Announcement._of(topic_id, fields, leader_epoch) if fields else None
            return cls(topic_id, pending, leader_epoch)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return None


def acknowledgement(topic_id: str, leader_epoch: int = UNKNOWN_EPOCH) -> str:
    """The metadata of a commit with nothing pending.

    It names the topic, so that one made anew under the same name is noticed: offsets of one log
    mean nothing in another. The leader epoch of the record before the offset tells whether the log
    has lost its end since.
    """
    return _encode(topic_id=topic_id, **_epoch_field(leader_epoch))


def _epoch_field(leader_epoch: int) -> dict[str, int]:
    return {_LEADER_EPOCH: leader_epoch} if leader_epoch != UNKNOWN_EPOCH else {}


def _encode(**fields: Any) -> str:
    return json.dumps({_KEY: _FORM, **fields}, separators=(",", ":"))

"""The metadata of a commit: the id of the topic, and the range that is pending at the offset.

A worker announces a range before it inserts it. The next owner of the partition reads the
announcement. Metadata of another tool means that nothing is pending; the worker logs it.
"""

import json
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any, Final, Self

from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH
from usagepipe.consumer.protocol.skipped_duplicates import SkippedDuplicates
from usagepipe.consumer.rows.pricing import PricingName
from usagepipe.schemas.settings.worker import MAX_BATCH_ROWS

MAX_EPOCH: Final = 2**32 - 1  # the epoch of `maintenance.row_repair`
_KEY: Final = "usagepipe"
_FORM: Final = 1
_LEADER_EPOCH: Final = "leader_epoch"


@dataclass(frozen=True, slots=True)
class Announcement:
    """A pending range `first` … `last` of a partition, and all that decides its insert."""

    topic_id: str
    first: int
    last: int
    records: int
    epoch: int
    skipped: SkippedDuplicates = field(default_factory=SkippedDuplicates)
    server: int = 0  # when ClickHouse was started (Unix seconds); 0 is unknown
    # Of the events to be inserted; empty is unknown. A log that lost its end gives the range to
    # other events, and with the same token the tables would drop them as a retry.
    digest: str = ""
    leader_epoch: int = UNKNOWN_EPOCH  # of the record before it
    prices: str = ""  # which costs its rows have (`PricingName`)

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
            **({"prices": self.prices} if self.prices else {}),
            **_epoch_field(self.leader_epoch),
            **self.skipped.encode(self.first),
        )

    @classmethod
    def _of(cls, topic_id: str, fields: dict[str, Any], leader_epoch: int) -> Self:
        """Raises KeyError, TypeError or ValueError if `fields` are no announcement."""
        numbers = [fields.pop(name) for name in ("first", "last", "records", "epoch")]
        numbers.append(fields.pop("server", 0))
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("numbers")
        first, last, records, epoch, server = numbers
        if not (first <= last and epoch < MAX_EPOCH):
            raise ValueError("range")
        # There may be fewer records than offsets, but never more.
        if records > min(MAX_BATCH_ROWS, last - first + 1):
            raise ValueError("records")
        digest = fields.pop("ids", "")
        if not isinstance(digest, str):
            raise ValueError("ids")
        prices = fields.pop("prices", "")
        if not isinstance(prices, str):
            raise ValueError("prices")
        PricingName.decode(prices)
        skipped = SkippedDuplicates.decode(fields, first, last, records)
        if fields:
            raise ValueError("fields")
        return cls(
            topic_id, first, last, records, epoch, skipped, server, digest, leader_epoch, prices
        )

    def is_of(self, skipped: Set[int], digest: str) -> bool:
        """Whether it announced the events of `digest`, with the same `skipped` offsets."""
        return self.skipped.is_same(skipped) and self.digest in ("", digest)

    def token(self, cluster: str, partition: int) -> str:
        """The deduplication token. It is the same only for the same events in the same range."""
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
        """The decoded metadata; None if it is empty or of another tool.

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

    The topic's id shows whether the topic was created again under its name: offsets of one log mean
    nothing in another. The leader epoch of the record before the offset shows whether the log has
    lost its end since.
    """
    return _encode(topic_id=topic_id, **_epoch_field(leader_epoch))


def _epoch_field(leader_epoch: int) -> dict[str, int]:
    return {_LEADER_EPOCH: leader_epoch} if leader_epoch != UNKNOWN_EPOCH else {}


def _encode(**fields: Any) -> str:
    return json.dumps({_KEY: _FORM, **fields}, separators=(",", ":"))

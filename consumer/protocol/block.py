"""What is inserted for a batch: its rows, without those whose events are stored elsewhere.

Everything that decides the bytes is in the announcement, so that whoever sends the range again
makes the same block.
"""

from collections.abc import Set
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.protocol.skipped_duplicates import SkippedDuplicates
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.rows.rows import Place, Rows

FIRST_EPOCH = 0  # the plain insert; a later one writes only what is missing of its range


class Outcome(Enum):
    """What became of a block."""

    STORED = "every record of it is a row, a dead letter or left out"
    LETTER = "its one row is refused, and has become a dead letter"
    REFUSED = "its content is refused, and nothing of it was stored"
    INCOMPLETE = "something of its range is stored, and something is missing"


class Landing(NamedTuple):
    """What became of a block; `suspect` is the offset that ClickHouse names as refused."""

    outcome: Outcome
    suspect: int | None = None


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The offsets of a batch whose event is stored elsewhere, or stands before in the batch."""

    stored: frozenset[int] = frozenset()
    batch: frozenset[int] = frozenset()

    @property
    def offsets(self) -> frozenset[int]:
        return self.stored | self.batch


@dataclass(frozen=True)
class Block:
    """A batch on its way into the tables, under the token of `pending`."""

    batch: Batch
    topic: TopicIdentity
    pending: Announcement
    rows: Rows
    duplicates: Duplicates
    # Its records that are stored already, as rows of their own; looked up in later epochs only.
    present: frozenset[Place]
    as_announced: bool = True  # False: other duplicates were found, or other events read

    @cached_property
    def id_set(self) -> frozenset[str]:
        """The ids of its rows."""
        return frozenset(self.rows.ids)

    @property
    def expected(self) -> int:
        """How many rows of the range are stored when this block is."""
        return self.rows.count + len(self.present)

    def landed(self, stored: Set[Place]) -> int:
        """How many of them are among the rows `stored` of the range."""
        return len(stored & (self.rows.places | self.present))

    def offset_of(self, row: int | None) -> int | None:
        """The offset of the `row`-th line, counted from 1; None for no such line."""
        if row is None or not 1 <= row <= self.rows.count:
            return None
        return self.rows.offsets[row - 1]

    @property
    def token(self) -> str:
        return self.pending.token(self.topic.cluster, self.batch.partition.partition)


def find_duplicates(rows: Rows, stored_ids: Set[str], present: Set[int]) -> Duplicates:
    """Which of `rows` are not the first of their event.

    `stored_ids` are of events that are stored outside the range, `present` the offsets of the range
    that are stored: such a row is never a duplicate of itself, but a later one may be one of it.
    """
    if not stored_ids and len(set(rows.ids)) == rows.count:
        return Duplicates()
    taken = {
        event_id
        for offset, event_id in zip(rows.offsets, rows.ids, strict=True)
        if offset in present
    }
    stored, batch = set(), set()
    for offset, event_id in zip(rows.offsets, rows.ids, strict=True):
        if offset in present:
            continue
        if event_id in stored_ids:
            stored.add(offset)
        elif event_id in taken:
            batch.add(offset)
        taken.add(event_id)
    return Duplicates(frozenset(stored), frozenset(batch))


def make_block(
    batch: Batch,
    topic: TopicIdentity,
    epoch: int,
    rows: Rows,
    duplicates: Duplicates,
    present: frozenset[Place],
    announced: Announcement | None,
    server: int = 0,
) -> Block:
    """The block of `batch`; `announced` is what an owner before us said of the same range.

    `server` is when ClickHouse was started, as far as it is known.
    """
    skipped = duplicates.offsets
    kept = rows.without(skipped | {place.offset for place in present})
    pending = announced or Announcement(
        topic.topic_id,
        batch.first,
        batch.last,
        batch.count,
        epoch,
        # In a later epoch it is looked up again: what is stored by then is left out as well.
        SkippedDuplicates.of(skipped, batch.first) if epoch == FIRST_EPOCH else SkippedDuplicates(),
        server,
        kept.digest,
        batch.epoch_before,
    )
    same = epoch > FIRST_EPOCH or pending.is_of(skipped, kept.digest)
    return Block(batch, topic, pending, kept, duplicates, present, same)

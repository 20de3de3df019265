"""The rows of one insert: those of a batch, without events that are stored elsewhere.

The announcement contains everything that decides the bytes of a block, so that the next owner of
the partition makes the same block again.
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

FIRST_EPOCH = 0  # the first insert; a later epoch writes only the missing rows of its range


class Outcome(Enum):
    """The result of an insert."""

    STORED = "every record is a row, a dead letter or a skipped duplicate"
    LETTER = "its only row was refused and is a dead letter now"
    REFUSED = "its content was refused and none of it is stored"
    INCOMPLETE = "a part of its range is stored and a part is missing"


class InsertResult(NamedTuple):
    """The result of an insert; `suspect` is the offset that ClickHouse refused, if it says so."""

    outcome: Outcome
    suspect: int | None = None


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The offsets of a batch whose event is stored elsewhere or earlier in the batch."""

    stored: frozenset[int] = frozenset()
    batch: frozenset[int] = frozenset()

    @property
    def offsets(self) -> frozenset[int]:
        return self.stored | self.batch


@dataclass(frozen=True)
class Block:
    """A batch that is to be inserted under the token of `pending`."""

    batch: Batch
    topic: TopicIdentity
    pending: Announcement
    rows: Rows
    duplicates: Duplicates
    # The rows of its range that are already stored. Looked up in later epochs only.
    present: frozenset[Place]
    as_announced: bool = True  # False: other duplicates or other events were found

    @cached_property
    def id_set(self) -> frozenset[str]:
        """The ids of its rows."""
        return frozenset(self.rows.ids)

    @property
    def expected(self) -> int:
        """The number of rows of the range after this block is stored."""
        return self.rows.count + len(self.present)

    def landed(self, stored: Set[Place]) -> int:
        """How many of these rows are in `stored`, the rows of the range."""
        return len(stored & (self.rows.places | self.present))

    def offset_of(self, row: int | None) -> int | None:
        """The offset of the `row`-th line, counted from 1, or None."""
        if row is None or not 1 <= row <= self.rows.count:
            return None
        return self.rows.offsets[row - 1]

    @property
    def token(self) -> str:
        return self.pending.token(self.topic.cluster, self.batch.partition.partition)


def find_duplicates(rows: Rows, stored_ids: Set[str], present: Set[int]) -> Duplicates:
    """The rows that are not the first of their event.

    `stored_ids` are events that are stored outside the range. `present` are the stored offsets of
    the range: such a row is no duplicate of itself, but a later row may be a duplicate of it.
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
    prices: str = "",
) -> Block:
    """The block of `batch`. `announced` is an earlier owner's announcement of the same range.

    `server` is when ClickHouse was started; 0 is unknown. `prices` names the costs of `rows`.
    """
    skipped = duplicates.offsets
    kept = rows.without(skipped | {place.offset for place in present})
    pending = announced or Announcement(
        topic.topic_id,
        batch.first,
        batch.last,
        batch.count,
        epoch,
        # A later epoch looks up duplicates again, since more events may be stored by then.
        SkippedDuplicates.of(skipped, batch.first) if epoch == FIRST_EPOCH else SkippedDuplicates(),
        server,
        kept.digest,
        batch.epoch_before,
        prices,
    )
    same = epoch > FIRST_EPOCH or pending.is_of(skipped, kept.digest)
    return Block(batch, topic, pending, kept, duplicates, present, same)

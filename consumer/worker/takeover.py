"""Decides where a partition is resumed, from the offset and metadata that its last owner left.

Everything that is skipped or read again is logged: aiokafka would reset an offset outside the log
silently, and the events of a recreated topic would count as events of the old one.
"""

import structlog

from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH, Lineage
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.announcement import Announcement, CommitMetadata
from usagepipe.consumer.protocol.positions import PartitionOffsets, ResumePoint
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.schemas.errors import AnotherTopicError

log = structlog.get_logger()


def where_to_start(
    partition: TopicPartition, found: PartitionOffsets, topic: TopicIdentity
) -> ResumePoint:
    """Where the worker of `partition` begins, and what it has to recover first.

    Raises:
        AnotherTopicError: the offset belongs to another topic of this name. Offsets of one log
            mean nothing in another, so an operator must choose the group.
    """
    if found.committed is None or found.committed.offset < 0:
        return ResumePoint(found.start, topic)
    offset, metadata = found.committed
    kept = CommitMetadata.decode(metadata)
    if kept is None and metadata.strip("\0 "):
        log.warning("foreign_metadata", partition=str(partition), offset=offset)
    if kept is not None and kept.topic_id != topic.topic_id:
        raise AnotherTopicError(
            f"{partition}: the group's offset {offset} belongs to the topic {kept.topic_id}, "
            f"the topic is {topic.topic_id} now: it was deleted and created again. Use a new "
            "group, or delete this group's offsets."
        )
    pending = kept.pending if kept is not None else None
    if pending is not None and not pending.first == offset <= pending.last < found.end:
        # Not ours, or the log has lost its end: such a range could never be read whole.
        log.error("pending_range_unsound", partition=str(partition), offset=offset)
        pending = None
    leader_epoch = kept.leader_epoch if kept is not None else UNKNOWN_EPOCH
    cut = Lineage(offset, leader_epoch).end_in(found.epoch_end)
    if cut is not None and offset >= found.start:
        # What follows may have the offsets of what was stored. Its events are stored all the same:
        # the partition worker looks up every event from here to the last stored offset
        # (`_first_epoch`).
        again_from = max(cut, found.start)
        log.error("log_cut", partition=str(partition), committed=offset, read_from=again_from)
        return ResumePoint(again_from, topic)
    if offset > found.end:
        log.error("committed_beyond_log", partition=str(partition), offset=offset, end=found.end)
        return ResumePoint(found.start, topic)
    if offset < found.start:
        _log_expired(partition, offset, found.start - 1, pending)
        if pending is None or pending.last < found.start:
            return ResumePoint(found.start, topic)
    return ResumePoint(offset, topic, pending, leader_epoch)


def _log_expired(
    partition: TopicPartition, first: int, last: int, pending: Announcement | None
) -> None:
    """Of what left the log, the announced range was read: its rows may be stored, views or not."""
    if pending is not None:
        log.error(
            "announced_range_expired",
            partition=str(partition),
            first=first,
            last=min(pending.last, last),
            cure="usagepipe audit reports what is stored of it; --repair rebuilds the rollups",
        )
        first = pending.last + 1
    if first <= last:
        log.error("records_expired_unread", partition=str(partition), first=first, last=last)

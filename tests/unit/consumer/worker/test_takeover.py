"""Where a partition is read on is decided from what its last owner left, never guessed."""

import pytest
from structlog.testing import capture_logs

from tests.support.fake_records import PARTITION
from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH, EpochEnd
from usagepipe.consumer.protocol.announcement import Announcement, acknowledgement
from usagepipe.consumer.protocol.positions import PartitionOffsets, Position, ResumePoint
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.worker.takeover import where_to_start
from usagepipe.schemas.errors import AnotherTopicError

TOPIC = TopicIdentity("cluster", "topic-id")
PENDING = Announcement("topic-id", 20, 29, records=10, epoch=0)


def start(offset: int, metadata: str = "") -> ResumePoint:
    """Where the partition worker begins in a log of 10 … 99."""
    return where_to_start(PARTITION, PartitionOffsets(Position(offset, metadata), 10, 100), TOPIC)


def test_a_group_that_never_committed_begins_at_the_start_of_the_log() -> None:
    """Kafka says so by no commit, or by an offset of -1."""
    assert ResumePoint(10, TOPIC) == where_to_start(
        PARTITION, PartitionOffsets(None, 10, 100), TOPIC
    )
    assert ResumePoint(10, TOPIC) == start(-1)


def test_an_acknowledged_range_is_done() -> None:
    """Nothing is pending then, also where another tool left words of its own."""
    assert ResumePoint(20, TOPIC) == start(20, acknowledgement("topic-id"))
    assert ResumePoint(20, TOPIC) == start(20, "committed by hand\0")


def test_an_announced_range_is_pending() -> None:
    """It is recovered before anything else."""
    assert ResumePoint(20, TOPIC, PENDING) == start(20, PENDING.encode())


@pytest.mark.parametrize(
    "pending", [Announcement("topic-id", 19, 29, 10, 0), Announcement("topic-id", 20, 100, 10, 0)]
)
def test_a_range_that_cannot_be_pending_is_not_waited_for(pending: Announcement) -> None:
    """It begins elsewhere, or ends after the log: another program wrote it, or the log was cut."""
    assert ResumePoint(20, TOPIC) == start(20, pending.encode())


@pytest.mark.parametrize(
    "metadata",
    [acknowledgement("another-id"), Announcement("another-id", 20, 29, 10, 0).encode()],
)
def test_offsets_of_another_topic_of_this_name_are_refused(metadata: str) -> None:
    """With something pending or nothing: they mean nothing in this log."""
    with pytest.raises(AnotherTopicError, match=r"another-id.*was deleted and created again"):
        start(20, metadata)


def test_a_log_that_ends_before_the_commit_is_read_from_its_start() -> None:
    """A broker that keeps nothing has begun a new one."""
    assert ResumePoint(10, TOPIC) == start(101)


@pytest.mark.parametrize(
    ("epoch_end", "begin"),
    [
        (EpochEnd(4, 60), ResumePoint(60, TOPIC, None, 4)),  # all of it, and no more
        (EpochEnd(4, 80), ResumePoint(60, TOPIC, None, 4)),
        (EpochEnd(4, 45), ResumePoint(45, TOPIC)),  # it was cut there
        (EpochEnd(3, 80), ResumePoint(10, TOPIC)),  # the log has none of our epoch
        (EpochEnd(4, 5), ResumePoint(10, TOPIC)),  # it was cut before what retention has left
        (EpochEnd(UNKNOWN_EPOCH, -1), ResumePoint(60, TOPIC, None, 4)),  # the broker does not know
        (None, ResumePoint(60, TOPIC, None, 4)),
    ],
)
def test_a_log_that_lost_its_end_is_read_from_there(
    epoch_end: EpochEnd | None, begin: ResumePoint
) -> None:
    """Also where it has grown beyond the committed offset, which then points among other events."""
    committed = Position(60, acknowledgement("topic-id", 4))

    found = where_to_start(PARTITION, PartitionOffsets(committed, 10, 100, epoch_end), TOPIC)

    assert begin == found


def test_a_range_that_was_announced_in_a_log_that_was_cut_is_not_pending() -> None:
    """What the log has there now was never announced."""
    pending = Announcement("topic-id", 60, 69, records=10, epoch=0, leader_epoch=4)
    committed = Position(60, pending.encode())

    found = where_to_start(PARTITION, PartitionOffsets(committed, 10, 100, EpochEnd(4, 50)), TOPIC)

    assert ResumePoint(50, TOPIC) == found


def test_a_log_that_begins_after_the_commit_is_read_from_its_start() -> None:
    """An unread expired range is reported; of a partly expired one the rest is recovered."""
    half = Announcement("topic-id", 5, 14, records=10, epoch=0)
    whole = Announcement("topic-id", 2, 8, records=7, epoch=0)

    assert ResumePoint(10, TOPIC) == start(2)
    assert ResumePoint(10, TOPIC) == start(2, whole.encode())
    assert ResumePoint(5, TOPIC, half) == start(5, half.encode())


@pytest.mark.parametrize(
    ("metadata", "reported"),
    [
        ("", [("records_expired_unread", 2, 9)]),
        (
            Announcement("topic-id", 2, 6, records=5, epoch=0).encode(),
            [("announced_range_expired", 2, 6), ("records_expired_unread", 7, 9)],
        ),
        (
            Announcement("topic-id", 2, 14, records=13, epoch=0).encode(),
            [("announced_range_expired", 2, 9)],
        ),
    ],
    ids=["nothing announced", "all announced expired", "a part"],
)
def test_an_announced_range_is_not_reported_as_unread(
    metadata: str, reported: list[tuple[str, int, int]]
) -> None:
    """A worker had it in hand when it ended: its rows may well be stored."""
    with capture_logs() as logs:
        start(2, metadata)

    assert reported == [(line["event"], line["first"], line["last"]) for line in logs]

"""What a batch leaves out is what is stored elsewhere, or stood before in the same batch."""

import json
from collections.abc import Set

from tests.support.fake_records import PARTITION, FakeRecord
from usagepipe.consumer.log.record_batches import DecodedBatch
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.protocol.block import Block, Duplicates, find_duplicates, make_block
from usagepipe.consumer.protocol.skipped_duplicates import SkippedDuplicates
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.rows.rows import Place, Rows

TOPIC = TopicIdentity("cluster", "topic-id")


def rows(**ids: str) -> Rows:
    """Rows of the offsets given as `_5="a"`."""
    offsets = [int(name[1:]) for name in ids]
    lines = [json.dumps({"event_id": value}) + "\n" for value in ids.values()]
    return Rows("".join(lines).encode(), offsets, list(ids.values()), ())


def block(
    epoch: int, duplicates: Duplicates, present: Set[Place], announced: Announcement | None = None
) -> Block:
    records = [FakeRecord(offset) for offset in (5, 6, 7, 8)]
    batch = Batch.of(PARTITION, 5, 8, (DecodedBatch.of(records),))
    found = rows(_5="a", _6="b", _7="c", _8="d")
    return make_block(batch, TOPIC, epoch, found, duplicates, frozenset(present), announced)


def test_nothing_is_left_out_of_events_that_are_new() -> None:
    """The case of every day."""
    assert Duplicates() == find_duplicates(rows(_5="a", _6="b"), set(), set())


def test_the_first_of_two_in_a_batch_is_kept() -> None:
    """The second is left out, and so is the third."""
    found = find_duplicates(rows(_5="a", _6="b", _7="a", _8="a"), set(), set())

    assert Duplicates(batch=frozenset({7, 8})) == found


def test_an_event_that_is_stored_elsewhere_is_left_out() -> None:
    """Each of its records in the batch."""
    found = find_duplicates(rows(_5="a", _6="b", _7="a"), {"a"}, set())

    assert Duplicates(stored=frozenset({5, 7})) == found


def test_a_stored_row_of_the_range_is_no_duplicate_of_itself() -> None:
    """A stored row of the range is no duplicate of itself; the next row of its event is one."""
    found = find_duplicates(rows(_5="a", _6="a", _7="b"), set(), {5})

    assert Duplicates(batch=frozenset({6})) == found


def test_a_block_is_without_its_duplicates() -> None:
    """And its announcement names them."""
    made = block(0, Duplicates(stored=frozenset({6}), batch=frozenset({8})), set())

    assert [5, 7] == list(made.rows.offsets)
    assert ["a", "c"] == [json.loads(line)["event_id"] for line in made.rows.body.splitlines()]
    assert SkippedDuplicates.of({6, 8}, 5) == made.pending.skipped
    assert 2 == made.expected


def test_a_later_epoch_writes_what_is_missing() -> None:
    """The stored ids count for the whole range, and the next owner looks them up again."""
    made = block(1, Duplicates(stored=frozenset({6})), {Place(5, "a"), Place(7, "c")})

    assert [8] == list(made.rows.offsets)
    assert 3 == made.expected
    assert SkippedDuplicates() == made.pending.skipped
    assert made.token.endswith(f":5-8:1:{rows(_8='d').digest}")


def test_a_look_up_that_differs_from_the_announcement_is_reported() -> None:
    """The range may have landed with the others: it is verified before it counts as stored."""
    announced = Announcement("topic-id", 5, 8, 4, 0, SkippedDuplicates.of({6}, 5))

    same = block(0, Duplicates(stored=frozenset({6})), set(), announced)
    other = block(0, Duplicates(stored=frozenset({7})), set(), announced)

    assert same.as_announced
    assert not other.as_announced


def test_other_events_in_an_announced_range_are_reported() -> None:
    """A log that lost its end gives the range to them: their token is another, and so is theirs
    who announced it."""
    announced = block(0, Duplicates(), set()).pending
    batch = Batch.of(PARTITION, 5, 8, (DecodedBatch.of([FakeRecord(n) for n in (5, 6, 7, 8)]),))
    others = rows(_5="e", _6="f", _7="g", _8="h")

    found = make_block(batch, TOPIC, 0, others, Duplicates(), frozenset(), announced)
    own = make_block(batch, TOPIC, 0, others, Duplicates(), frozenset(), None)

    assert not found.as_announced
    assert own.token != found.token


def test_rows_of_other_events_do_not_make_a_range_whole() -> None:
    """They have its offsets, and were stored before the log lost its end."""
    made = block(0, Duplicates(), set())

    assert 0 == made.landed({Place(n, "old") for n in (5, 6, 7, 8)})
    assert made.expected == made.landed({*made.rows.places, Place(5, "old")})

"""What stands in a commit's metadata is read back exactly, or not believed."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usagepipe.consumer.protocol.announcement import (
    Announcement,
    CommitMetadata,
    acknowledgement,
)
from usagepipe.consumer.protocol.skipped_duplicates import SkippedDuplicates

TOPIC_ID = "topic-id-of-22-letters"
FIRST, LAST = 1_000, 60_999
PRICES = "reported-first:0123456789abcdef"
MAX_METADATA_BYTES = 4_096  # Kafka's `offset.metadata.max.bytes`


def announced(skipped: SkippedDuplicates) -> Announcement:
    server, digest, leader_epoch = 1_800_000_000, "0123456789abcdef", 2**31 - 1
    return Announcement(
        TOPIC_ID, FIRST, LAST, 60_000, 0, skipped, server, digest, leader_epoch, PRICES
    )


@given(st.sets(st.integers(FIRST, LAST), max_size=600))
def test_an_announcement_is_read_back(offsets: set[int]) -> None:
    """With the offsets it leaves out, or count and digest of them where there is no room."""
    written = announced(SkippedDuplicates.of(offsets, FIRST))

    metadata = written.encode()

    assert CommitMetadata(TOPIC_ID, written, written.leader_epoch) == CommitMetadata.decode(
        metadata
    )
    assert len(metadata) <= MAX_METADATA_BYTES
    assert written.skipped.is_same(offsets)
    assert not written.skipped.is_same(offsets ^ {FIRST})


def test_a_spill_that_was_sent_twice_is_named_whole() -> None:
    """Duplicates come in runs, which are short to write."""
    skipped = SkippedDuplicates.of(set(range(FIRST, LAST + 1)), FIRST)

    assert {"left_out": "0+60000"} == skipped.encode(FIRST)
    assert 60_000 == skipped.count


def test_scattered_duplicates_are_counted_and_digested() -> None:
    """A commit's metadata is bounded: the next owner looks the ids up again and compares."""
    offsets = set(range(FIRST, LAST, 2))

    skipped = SkippedDuplicates.of(offsets, FIRST)

    assert skipped.offsets is None
    assert {"left_out", "digest"} == skipped.encode(FIRST).keys()
    assert skipped.is_same(offsets)


def test_an_acknowledgement_names_the_topic() -> None:
    """So a recreated topic of the same name is noticed with nothing pending."""
    assert CommitMetadata(TOPIC_ID, None) == CommitMetadata.decode(acknowledgement(TOPIC_ID))


def test_an_acknowledgement_keeps_the_leader_epoch() -> None:
    """So that a log that lost its end is noticed."""
    assert CommitMetadata(TOPIC_ID, None, 7) == CommitMetadata.decode(acknowledgement(TOPIC_ID, 7))


def test_what_an_older_worker_announced_keeps_its_token() -> None:
    """Its insert may have landed under it."""
    older = '{"usagepipe":1,"topic_id":"t","first":5,"last":8,"records":4,"epoch":0,"server":9}'

    kept = CommitMetadata.decode(older)

    assert CommitMetadata("t", Announcement("t", 5, 8, 4, 0, server=9)) == kept
    assert kept is not None
    assert kept.pending is not None
    assert "c:t:3:5-8:0" == kept.pending.token("c", 3)


@pytest.mark.parametrize(
    "change",
    [
        {"usagepipe": 2},
        {"topic_id": 7},
        {"first": -1},
        {"first": LAST + 1},
        {"first": 1.5},
        {"records": None},
        {"epoch": True},
        {"server": "now"},
        {"more": 1},
        {"left_out": "5+"},
        {"left_out": "5+x"},
        {"left_out": "-1"},
        {"left_out": "0+60001"},
        {"left_out": "0+999999999999999"},
        {"left_out": 3, "digest": 4},
        {"left_out": 60_001, "digest": "x"},
        {"last": 10**12, "left_out": "0+1000000000"},
        {"records": 10**9},
        {"records": 60_001},
        {"last": 2**62, "records": 1_000_001},
        {"epoch": 2**32 - 1},
        {"left_out": -3, "digest": ""},
        {"left_out": []},
        {"prices": 0},
        {"prices": []},
        {"prices": {"rule": "prices-only"}},
        {"prices": "prices-only"},
        {"prices": "of-tomorrow:0123456789abcdef"},
    ],
)
def test_foreign_metadata_is_not_believed(change: dict[str, object]) -> None:
    """Another tool's or a damaged one: nothing is guessed, and nothing large is made of it."""
    fields = json.loads(announced(SkippedDuplicates()).encode()) | change

    assert CommitMetadata.decode(json.dumps(fields)) is None


@pytest.mark.parametrize(
    "metadata", ["", "\0", "null", "[]", "7", "{", '{"usagepipe":1}', "[" * 4_000]
)
def test_no_metadata_is_nothing(metadata: str) -> None:
    """Nor is anything that is no object of ours."""
    assert CommitMetadata.decode(metadata) is None


def test_an_announcement_may_lack_when_the_server_was_started() -> None:
    """Then it is not known, and the rollups are held against raw."""
    fields = json.loads(announced(SkippedDuplicates()).encode())
    del fields["server"]

    expected = replace(announced(SkippedDuplicates()), server=0)
    assert CommitMetadata(TOPIC_ID, expected, expected.leader_epoch) == CommitMetadata.decode(
        json.dumps(fields)
    )


def test_an_announcement_without_prices_keeps_the_events_own_costs() -> None:
    """It is of a worker without prices: `USAGEPIPE_COST=reported-only`, or an older version."""
    fields = json.loads(announced(SkippedDuplicates()).encode())
    assert PRICES == fields.pop("prices")

    kept = CommitMetadata.decode(json.dumps(fields))

    assert kept is not None
    assert kept.pending == replace(announced(SkippedDuplicates()), prices="")


def test_a_nul_at_the_end_is_cut() -> None:
    """confluent-kafka ends metadata with one."""
    written = announced(SkippedDuplicates())

    expected = CommitMetadata(TOPIC_ID, written, written.leader_epoch)
    assert expected == CommitMetadata.decode(written.encode() + "\0")

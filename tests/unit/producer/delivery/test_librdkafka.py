"""What librdkafka's statistics show: a stuck partition, a refused identity."""

from typing import Any

import pytest

from usagepipe.producer.delivery.librdkafka import (
    IdentityWatch,
    PartitionWatch,
    connection_steps,
    is_topic_unknown,
)

SECONDS = 0.5


def report(*partitions: tuple[int, int]) -> dict[str, Any]:
    """Statistics with these partitions: how many events each holds, and the last acknowledged."""
    return {
        "topics": {
            "usage.events.v1": {
                "partitions": {
                    str(number): {
                        "msgq_cnt": held,
                        "xmit_msgq_cnt": 0,
                        "msgs_inflight": 0,
                        "acked_msgid": acknowledged,
                    }
                    for number, (held, acknowledged) in enumerate(partitions)
                }
            }
        }
    }


def verdicts(*reports: dict[str, Any]) -> list[bool]:
    """What the watch says of reports that come each half of its time."""
    watch = PartitionWatch(SECONDS)
    return [watch.is_stuck(each, at * SECONDS / 2) for at, each in enumerate(reports)]


def test_partition_that_stands_while_others_go_on_is_stuck() -> None:
    """One partition of two acknowledges nothing for the time given: that is noticed."""
    found = verdicts(*(report((3, 7), (90, 1_000 * at)) for at in range(4)))

    assert [False, False, True, True] == found


def test_partition_that_goes_on_is_not_stuck() -> None:
    """A partition may hold events at every look, as long as some were acknowledged between."""
    found = verdicts(*(report((3, at), (90, 1_000 * at)) for at in range(6)))

    assert [False] * 6 == found


def test_partition_without_events_is_not_stuck() -> None:
    """Time in which a partition has nothing to acknowledge does not count."""
    found = verdicts(report((0, 7)), report((0, 7)), report((0, 7)), report((3, 7)), report((3, 7)))

    assert [False] * 5 == found


def test_identity_is_refused_only_when_epochs_pass_and_nothing_is_delivered() -> None:
    """One new epoch is librdkafka at work; many, with nothing delivered, is a broker's no."""
    watch = IdentityWatch()
    reports = [(3, 0), (4, 0), (30, 500), (60, 500), (60, 500)]

    found = [
        watch.is_refused({"eos": {"producer_epoch": epoch}}, delivered, 2.0 * number)
        for number, (epoch, delivered) in enumerate(reports, start=1)
    ]

    assert [False, False, False, True, False] == found


def test_identity_is_judged_over_two_seconds() -> None:
    """Reports that come more often do not hide how fast the epochs pass."""
    watch = IdentityWatch()

    found = [
        watch.is_refused({"eos": {"producer_epoch": 2 * number}}, 0, 2.0 + number / 2)
        for number in range(5)
    ]

    assert [False, False, False, False, True] == found


@pytest.mark.parametrize(
    ("metadata_age", "partitions", "unknown"),
    [
        (0, ["-1"], False),  # Kafka has not answered yet: it may be away
        (120, ["-1"], True),
        (120, ["0", "1"], False),
        (120, ["-1", "0"], False),
    ],
)
def test_topic_is_unknown_when_kafka_says_so(
    metadata_age: int, partitions: list[str], unknown: bool
) -> None:
    """A topic without an answer is not one that does not exist."""
    topic = {"metadata_age": metadata_age, "partitions": {name: {} for name in partitions}}

    assert unknown == is_topic_unknown({"topics": {"usage.events.v1": topic}})


@pytest.mark.parametrize(
    ("answers", "partitions", "identity", "steps"),
    [
        ((), (), -1, 0),
        ((0,), ("-1",), -1, 0),
        ((3,), ("-1",), -1, 1),
        ((3, 0), ("0", "-1"), -1, 2),
        ((3, 4), ("0", "-1"), -1, 3),
        ((3, 4, 9, 9), ("0",), 1_000, 4),
    ],
)
def test_a_first_connection_has_four_steps(
    answers: tuple[int, ...], partitions: tuple[str, ...], identity: int, steps: int
) -> None:
    """Two servers that answered, partitions and an identity: more answers are no more progress."""
    found = connection_steps(
        {
            "brokers": {str(number): {"rx": rx} for number, rx in enumerate(answers)},
            "topics": {"t": {"partitions": {key: {} for key in partitions}}} if partitions else {},
            "eos": {"producer_id": identity},
        }
    )

    assert steps == found
    assert 0 == connection_steps({})

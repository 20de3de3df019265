"""The recorder and a real Kafka: partitions, order and numbers of the events."""

import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest

from tests.support.events import event
from tests.support.topics import read, sequences
from tests.support.waiting import eventually
from tests.support.watched import Bench, answering
from usagepipe.producer import UsageRecorder
from usagepipe.producer.delivery.outbox import Outbox
from usagepipe.producer.process.native import Thread
from usagepipe.schemas import UsageEvent, decode

SECONDS = 30

# With a spill, events in flight are on the topic twice if Kafka is slow (on a busy machine, say).
pytestmark = pytest.mark.usefixtures("no_spill")


def _number(stored: UsageEvent) -> int:
    return stored.sequence or 0


def test_recorded_events_are_on_the_topic(kafka: str, topic: str) -> None:
    """Each event is one record with its key, and its producer and number in it."""
    events = [event(api_key_id="k-1"), event(api_key_id=""), event(user_name="Zoë 😀")]

    with UsageRecorder(kafka=kafka, topic=topic) as recorder:
        accepted = [recorder.record(each) for each in events]

    records = read(kafka, topic)
    expected = [
        each.model_copy(update={"producer_id": recorder.producer_id, "sequence": number})
        for number, each in enumerate(events, start=1)
    ]
    assert [True, True, True] == accepted
    assert expected == sorted(map(decode, (r.value for r in records)), key=_number)
    assert [b"k-1", b"u-1", b"u-1"] == sorted(r.key or b"" for r in records)


def test_parts_of_a_request_follow_it(kafka: str, topic: str) -> None:
    """The calls of other models inside an answer have the request's key, so its partition, and the
    next numbers."""
    run = {"type": "advisor_message", "model": "o", "input_tokens": 3, "output_tokens": 1}
    usage = {"input_tokens": 5, "output_tokens": 2, "iterations": [run, run]}
    answer = answering({"type": "message", "model": "m", "usage": usage})

    with UsageRecorder(kafka=kafka, topic=topic) as recorder:
        Bench(answer, recorder=recorder).post()

    records = sorted(read(kafka, topic), key=lambda record: record.offset)
    stored = [decode(record.value) for record in records]
    assert 1 == len({(record.key, record.partition) for record in records})
    assert [(1, "m", 0), (2, "o", 1), (3, "o", 2)] == [
        (event.sequence, event.model, event.part) for event in stored
    ]


def test_keys_go_where_other_clients_put_them(kafka: str, topic: str) -> None:
    """The partition is the Java client's: murmur2 of the key (its own test vectors)."""
    vectors = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}

    with UsageRecorder(kafka=kafka, topic=topic) as recorder:
        for key in vectors:
            recorder.record(event(api_key_id=key))

    seen = {record.key: record.partition for record in read(kafka, topic)}
    assert {k.encode(): (h & 0x7FFFFFFF) % 4 for k, h in vectors.items()} == seen


def test_events_of_many_threads_keep_their_order(kafka: str, topic: str) -> None:
    """Within a partition the numbers rise, from all threads that recorded events."""
    with UsageRecorder(kafka=kafka, topic=topic) as recorder, ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(
                lambda n: [recorder.record(event(api_key_id=f"k-{n}")) for _ in range(500)], number
            )

    by_partition: dict[int, list[int]] = defaultdict(list)
    for record in read(kafka, topic):
        by_partition[record.partition].append(decode(record.value).sequence or 0)
    assert all(numbers == sorted(numbers) for numbers in by_partition.values())
    assert {recorder.producer_id: list(range(1, 4_001))} == sequences(kafka, topic)
    assert (4_000, 4_000, 0) == (
        recorder.snapshot().recorded,
        recorder.snapshot().delivered,
        recorder.snapshot().queued,
    )


def test_close_right_after_recording_delivers_all(kafka: str, topic: str) -> None:
    """T-15: the last events before the close are delivered; a second close is harmless."""
    recorder = UsageRecorder(kafka=kafka, topic=topic)
    for _ in range(1_000):
        recorder.record(event())

    assert [0, 0] == [recorder.close(SECONDS), recorder.close(SECONDS)]
    assert {recorder.producer_id: list(range(1, 1_001))} == sequences(kafka, topic)


def test_dropped_event_leaves_a_gap_in_the_numbers(kafka: str, topic: str) -> None:
    """A loss before Kafka shows on the topic: the number of a dropped event is missing."""
    with UsageRecorder(kafka=kafka, topic=topic) as recorder:
        recorder.record(event())
        recorder.record(event().model_copy(update={"tags": {"t": "x" * 2_000_000}}))
        recorder.record(event())

    assert {recorder.producer_id: [1, 3]} == sequences(kafka, topic)


def deliveries() -> list[threading.Thread]:
    """Delivery threads. Python keeps an entry also of those of other tests, which have ended."""
    return [each for each in threading.enumerate() if each.name == "usagepipe-delivery"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("at", [Outbox._take, Outbox._start, Thread.start])
def test_event_recorded_in_a_signals_handler(
    kafka: str, topic: str, at: Callable[..., object]
) -> None:
    """A handler may interrupt record() anywhere and record itself: nobody waits for the lock that
    the interrupted one holds, and each event is sent once, with a number of its own."""
    for ended in deliveries():
        ended.name = "ended"
    interrupted: list[bool] = []

    def interrupt(frame: FrameType, what: str, _: object) -> None:
        if frame.f_code is at.__code__ and what == "call":
            sys.setprofile(None)
            interrupted.append(recorder.record(event()))  # as a signal's handler would, here

    with UsageRecorder(kafka=kafka, topic=topic) as recorder:
        sys.setprofile(interrupt)
        accepted = recorder.record(event())
        recorder.record(event())
        # A thread of the operating system gets its name when it begins to run.
        eventually(deliveries, SECONDS, "the delivery thread")
        threads = len(deliveries())

    assert ([True], True, 1) == (interrupted, accepted, threads)
    assert {recorder.producer_id: [1, 2, 3]} == sequences(kafka, topic)

"""The recorder against a real Kafka: order, numbers, crashes, forks and the ends of processes.

Without a spill, so that each event is on the topic once: with one, what was under way when Kafka
did not answer in time (a busy machine is enough) is there twice. That is told in test_spill.py.
"""

import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest

from tests.support.apache_kafka import ApacheKafka
from tests.support.events import event
from tests.support.logs import capture_logs
from tests.support.programs import Program, Programs
from tests.support.topics import make_topics, read
from tests.support.waiting import eventually
from usagepipe.local.broker import EmbeddedBroker
from usagepipe.producer import UsageRecorder
from usagepipe.producer.delivery.outbox import Outbox
from usagepipe.producer.process.native import Thread
from usagepipe.schemas import UsageEvent, decode
from usagepipe.schemas.gap import is_gap

SECONDS = 30


@pytest.fixture(autouse=True)
def _no_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGEPIPE_SPILL_DIR", "")


def _number(stored: UsageEvent) -> int:
    return stored.sequence or 0


def sequences(bootstrap: str, topic: str) -> dict[str, list[int]]:
    """The numbers that stand on the topic, by producer, in ascending order."""
    found: dict[str, list[int]] = defaultdict(list)
    for record in read(bootstrap, topic):
        if is_gap(record.value):
            continue
        stored = decode(record.value)
        found[stored.producer_id].append(stored.sequence or 0)
    return {producer_id: sorted(numbers) for producer_id, numbers in found.items()}


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


def test_keys_go_where_other_clients_put_them(kafka: str, topic: str) -> None:
    """The partition is the Java client's: murmur2 of the key (its own test vectors)."""
    vectors = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}

    with UsageRecorder(kafka=kafka, topic=topic) as recorder:
        for key in vectors:
            recorder.record(event(api_key_id=key))

    seen = {record.key: record.partition for record in read(kafka, topic)}
    assert {k.encode(): (h & 0x7FFFFFFF) % 4 for k, h in vectors.items()} == seen


def test_events_of_many_threads_keep_their_order(kafka: str, topic: str) -> None:
    """Within a partition the numbers rise, whichever threads recorded the events."""
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
    """T-15: what was recorded just before the close is delivered; a second close is harmless."""
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


def test_queued_events_arrive_once_when_kafka_comes_back(crashable_kafka: ApacheKafka) -> None:
    """T-13: killed with events under way, Kafka finds each of them once when it is back."""
    topic = "usage.events.v1"
    make_topics(crashable_kafka.bootstrap, topic, 2)
    with UsageRecorder(kafka=crashable_kafka.bootstrap, topic=topic) as recorder:
        for _ in range(500):
            recorder.record(event())
        crashable_kafka.kill()
        with capture_logs() as logs:
            for _ in range(500):
                recorder.record(event())
            waiting = recorder.flush(timeout=1)
            crashable_kafka.start()
            left = recorder.flush(SECONDS)

        assert waiting >= 500
        assert 0 == left
        assert {} == recorder.snapshot().dropped
        assert 1_000 == recorder.snapshot().delivered
        assert len(logs) <= 2  # away, and back
    seen = sequences(crashable_kafka.bootstrap, topic)
    assert {recorder.producer_id: list(range(1, 1_001))} == seen


def test_events_wait_for_a_topic_that_is_not_made_yet(kafka: str, topic_name: str) -> None:
    """A gateway started before `usagepipe migrate` loses nothing."""
    with UsageRecorder(kafka=kafka, topic=topic_name) as recorder:
        recorder.record(event())
        waiting = recorder.flush(timeout=1)

        make_topics(kafka, topic_name, 1)
        left = recorder.flush(SECONDS)

    assert (1, 0) == (waiting, left)
    assert {recorder.producer_id: [1]} == sequences(kafka, topic_name)


def test_broker_that_lost_its_memory_gets_the_events(topic_name: str) -> None:
    """The laptop's broker forgets the producer when it restarts: a new handle takes over."""
    with EmbeddedBroker() as broker:
        make_topics(broker.address, topic_name, 2)
        recorder = UsageRecorder(kafka=broker.address, topic=topic_name)
        recorder.record(event())
        recorder.flush(SECONDS)
    for _ in range(100):
        recorder.record(event())

    with EmbeddedBroker(broker.port) as broker:
        make_topics(broker.address, topic_name, 2)
        left = recorder.flush(SECONDS)
        # This broker tells the first record of the last batch as its end: give it one of one.
        recorder.record(event())
        recorder.close()
        seen = sequences(broker.address, topic_name)

    assert 0 == left
    assert {recorder.producer_id: list(range(2, 103))} == seen
    assert (102, {}) == (recorder.snapshot().delivered, recorder.snapshot().dropped)


HEAD = """
import multiprocessing, os, signal, sys, time
from usagepipe.producer import UsageRecorder
from usagepipe.schemas import UsageEvent
recorder = UsageRecorder()
def record(count):
    for _ in range(count):
        assert recorder.record(UsageEvent.new(user_id="u-1"))
"""


def run(run_program: Programs, folder: Path, body: str, kafka: str, topic: str) -> Program:
    """Run a script that begins with `HEAD` and wait for its end."""
    (folder / "script.py").write_text(HEAD + body)
    started = run_program(
        "-W",
        "error",
        str(folder / "script.py"),
        program=Path(sys.executable).name,
        environment={
            "USAGEPIPE_KAFKA": kafka,
            "USAGEPIPE_TOPIC": topic,
            "USAGEPIPE_SPILL_DIR": "",
        },
    )
    started.wait(SECONDS)
    return started


def test_end_of_the_interpreter_delivers(
    run_program: Programs, tmp_path: Path, kafka: str, topic: str
) -> None:
    """A script that just ends, without close, loses nothing."""
    ended = run(run_program, tmp_path, "record(100)", kafka, topic)

    assert 0 == ended.status
    assert [list(range(1, 101))] == list(sequences(kafka, topic).values())


def test_sigterm_delivers_and_still_ends_the_process(
    run_program: Programs, tmp_path: Path, kafka: str, topic: str
) -> None:
    """A process without a handler dies of SIGTERM as before, after its events are delivered."""
    body = "record(100)\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)"

    ended = run(run_program, tmp_path, body, kafka, topic)

    assert -15 == ended.status
    assert [list(range(1, 101))] == list(sequences(kafka, topic).values())


def test_sigterm_handler_set_later_is_left_alone(
    run_program: Programs, tmp_path: Path, kafka: str, topic: str
) -> None:
    """A handler that exits in good order takes the recorder's place, and nothing is lost."""
    body = (
        "record(100)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)"
    )

    ended = run(run_program, tmp_path, body, kafka, topic)

    assert 7 == ended.status
    assert [list(range(1, 101))] == list(sequences(kafka, topic).values())


def test_forked_processes_share_nothing(
    run_program: Programs, tmp_path: Path, kafka: str, topic: str
) -> None:
    """Parent and child each have an id and numbers of their own, and no event is sent twice."""
    body = """
record(50)  # in the parent's queue while it forks
child = os.fork()
record(30 if child == 0 else 10)
if child == 0:
    sys.exit(0)
_, status = os.waitpid(child, 0)
sys.exit(status)
"""

    ended = run(run_program, tmp_path, body, kafka, topic)

    assert 0 == ended.status
    found = sorted(sequences(kafka, topic).values(), key=len)
    assert [list(range(1, 31)), list(range(1, 61))] == found


def test_forked_child_may_let_go_of_what_it_inherited(
    run_program: Programs, tmp_path: Path, kafka: str, topic: str
) -> None:
    """A child that closes and drops the recorder does not hang on the parent's handle."""
    body = """
import gc
record(50)
child = os.fork()
if child == 0:
    recorder.close()
    del recorder
    gc.collect()
    sys.exit(0)
_, status = os.waitpid(child, 0)
sys.exit(status)
"""

    ended = run(run_program, tmp_path, body, kafka, topic)

    assert 0 == ended.status
    assert [list(range(1, 51))] == list(sequences(kafka, topic).values())


def test_child_of_multiprocessing_delivers(
    run_program: Programs, tmp_path: Path, kafka: str, topic: str
) -> None:
    """Such a child ends without `atexit`; its events are delivered all the same."""
    body = """
if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=record, args=(20,))
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""

    ended = run(run_program, tmp_path, body, kafka, topic)

    assert 0 == ended.status
    assert [list(range(1, 21))] == list(sequences(kafka, topic).values())

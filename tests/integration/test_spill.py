"""The spill with a real Kafka that is unreachable or killed, and real processes that are killed.

What is promised: once an outage lasts, `kill -9` costs no event that was recorded a second before;
what is on disk reaches Kafka, sent by this process or the next, a key's events in their order.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.apache_kafka import ApacheKafka
from tests.support.installs import ROOT
from tests.support.logs import capture_logs
from tests.support.ports import is_answered
from tests.support.programs import Programs
from tests.support.spilling import SECONDS, Away, Recording, event, is_whole, once
from tests.support.topics import make_topics
from tests.support.waiting import eventually
from usagepipe.local.ports import free_port
from usagepipe.producer.delivery.spill.segments import Segments
from usagepipe.schemas import decode

NOWHERE = "127.0.0.1:1"


def test_process_killed_in_an_outage_loses_nothing(away: Away, run_program: Programs) -> None:
    """2,000 events/s without Kafka, the process killed in the middle: the next one sends."""
    recording = Recording(run_program, away.environment, 2_000)
    recording.wait_for("number", 8_000)
    certain = recording.kill()

    following = away.deliver()

    (numbers,) = away.numbers().values()
    assert certain > 5_000
    assert max(numbers) >= certain
    assert is_whole(numbers)
    assert len(set(numbers)) == following.snapshot().resent
    assert 0 == following.snapshot().recorded


def test_process_killed_after_kafka_was_killed_loses_nothing(
    crashable_kafka: ApacheKafka, run_program: Programs, tmp_path: Path, topic_name: str
) -> None:
    """Kafka is killed under traffic, then the process: what librdkafka held is on disk."""
    make_topics(crashable_kafka.bootstrap, topic_name, 1)
    world = Away(crashable_kafka, topic_name, tmp_path / "spill")
    recording = Recording(run_program, world.environment, 2_000)
    recording.wait_for("delivered", 1_000)  # the first connection has a patience of its own
    crashable_kafka.kill()
    before = recording.last("number")
    recording.wait_for("number", before + 4_000)
    certain = recording.kill()

    world.deliver()

    (numbers,) = world.numbers().values()
    assert max(numbers) >= certain > before
    assert is_whole(numbers)


def test_process_killed_while_kafka_hangs_loses_nothing(
    crashable_kafka: ApacheKafka, run_program: Programs, tmp_path: Path, topic_name: str
) -> None:
    """A broker that keeps its connections and does not answer (SIGSTOP) is unreachable too."""
    make_topics(crashable_kafka.bootstrap, topic_name, 1)
    world = Away(crashable_kafka, topic_name, tmp_path / "spill")
    recording = Recording(run_program, world.environment, 2_000)
    recording.wait_for("delivered", 1_000)  # the first connection has a patience of its own
    os.kill(crashable_kafka.pid, signal.SIGSTOP)
    before = recording.last("number")
    recording.wait_for("number", before + 4_000)
    certain = recording.kill()
    crashable_kafka.kill()

    world.deliver()

    (numbers,) = world.numbers().values()
    assert max(numbers) >= certain > before
    assert is_whole(numbers)


def test_same_process_sends_in_order_and_then_goes_on(away: Away) -> None:
    """T-14: after an outage Kafka gets each event once, in order, and new ones after them."""
    with away.recorder() as recorder:
        for number in range(3_000):
            recorder.record(event(number))
        eventually(lambda: recorder.snapshot().spilled == 3_000, SECONDS, "all to be on disk")
        away.start()
        left = recorder.flush(SECONDS)
        eventually(lambda: not away.files(), SECONDS, "the files to be deleted")
        recorder.record(event())
        recorder.flush(SECONDS)
        snapshot = recorder.snapshot()

    assert 0 == left
    assert list(range(1, 3_002)) == once(away.numbers()[recorder.producer_id])
    assert (3_001, 0, {}) == (snapshot.delivered, snapshot.spill_bytes, snapshot.dropped)
    # On a busy machine Kafka may take so long for the last one that it is spilled as well.
    assert snapshot.resent in {3_000, 3_001}
    assert [] == list(next(away.folder.iterdir()).iterdir())


def test_traffic_does_not_keep_the_spill_alive(away: Away, run_program: Programs) -> None:
    """The files end while 2,000 events/s continue."""
    recording = Recording(run_program, away.environment, 2_000)
    recording.wait_for("spilled", 4_000)

    away.start()
    recording.wait_for("resent", 4_000)
    eventually(lambda: not away.files(), SECONDS, "the files to be sent")
    before, spilled = recording.last("number"), recording.last("spilled")
    recording.wait_for("number", before + 2_000)
    later = recording.last("spilled")
    recording.program.stop()

    (numbers,) = away.numbers().values()
    assert later < spilled + 1_000
    assert is_whole(numbers)
    assert max(numbers) >= before + 2_000
    assert sorted(set(numbers)) == once(numbers)


def test_two_processes_on_one_folder(away: Away, run_program: Programs) -> None:
    """Each has its own files; after both are killed, a third sends for both and removes them."""
    recordings = [Recording(run_program, away.environment, 500) for _ in range(2)]
    for recording in recordings:
        recording.wait_for("number", 1_500)
    certain = {recording.producer_id: recording.kill() for recording in recordings}

    away.deliver()

    found = away.numbers()
    assert certain.keys() == found.keys()
    assert all(is_whole(numbers) for numbers in found.values())
    assert all(max(found[each]) >= number for each, number in certain.items())
    assert [] == list(next(away.folder.iterdir()).iterdir())


def test_living_process_keeps_its_files(away: Away) -> None:
    """Another process on the folder of one that waits for Kafka takes nothing from it."""
    with away.recorder(close_seconds=0.1) as waiting:
        waiting.record(event())
        eventually(lambda: away.files(), SECONDS, "an event on disk")
        there = away.files()
        script = (
            "from usagepipe.producer import UsageRecorder;"
            "from usagepipe.schemas import UsageEvent;"
            "r = UsageRecorder(); r.record(UsageEvent.new(user_id='u')); r.flush(1); r.close(0.1);"
            "print(r.snapshot().spilled)"
        )
        other = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | away.environment,
            capture_output=True,
            text=True,
            check=True,
        )

        assert "1" == other.stdout.splitlines()[-1]
        assert set(there) < set(away.files())
    away.deliver()
    assert [[1], [1]] == [once(numbers) for numbers in away.numbers().values()]


@pytest.mark.alone
def test_close_keeps_what_is_left(away: Away) -> None:
    """T-15: closed right after events with Kafka away, twice: all are kept, the next sends them."""
    recorder = away.recorder()
    for number in range(500):
        recorder.record(event(number))

    with capture_logs() as logs:
        given_up = [recorder.close(0.1), recorder.close(60)]
    began = time.monotonic()
    left = [recorder.flush(60), recorder.stop()]
    waited = time.monotonic() - began
    following = away.deliver()

    assert ([0, 0], [500, 500]) == (given_up, left)
    assert waited < 1.0  # nobody sends any more
    assert [500] == [e["events"] for e in logs if e["event"] == "usage_events_kept_on_disk"]
    assert ({}, 500) == (recorder.snapshot().dropped, following.snapshot().resent)
    assert list(range(1, 501)) == once(away.numbers()[recorder.producer_id])


FORK = """
import os, signal, sys, time
from usagepipe.producer import UsageRecorder
from usagepipe.schemas import UsageEvent
recorder = UsageRecorder(close_seconds=0.1)
def record(count):
    for _ in range(count):
        assert recorder.record(UsageEvent.new(user_id="u-1"))
    deadline = time.monotonic() + 20
    while recorder.snapshot().spilled < recorder.snapshot().recorded:
        assert time.monotonic() < deadline
        time.sleep(0.01)
record(50)
child = os.fork()
if child == 0:
    record(30)
    sys.exit(0)
_, status = os.waitpid(child, 0)
record(60)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_forked_processes_have_a_spill_each(away: Away, run_program: Programs) -> None:
    """Forked in an outage (gunicorn's preload): parent and child write to files of their own."""
    python = Path(sys.executable).name
    program = run_program("-W", "error", "-c", FORK, program=python, environment=away.environment)
    status = program.wait(SECONDS)

    away.deliver()

    found = sorted(map(once, away.numbers().values()), key=len)
    assert -signal.SIGKILL == status
    assert [list(range(1, 31)), list(range(1, 111))] == found


def test_workers_of_a_server_have_a_spill_each(away: Away, run_program: Programs) -> None:
    """uvicorn with two workers, all killed in an outage: each request is recorded once."""
    port = free_port()
    server = run_program(
        *("tests.support.gateways.asgi:app", "--app-dir", str(ROOT), "--workers", "2"),
        *("--port", str(port)),
        program="uvicorn",
        environment=away.environment,
    )
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: is_answered(port), SECONDS, lambda: server.tail())
    pids: list[int] = []

    def ask_some() -> bool:
        # Each on a connection of its own, which any worker may take.
        answers = [httpx.get(f"{url}/sync/1", headers={"x-user": "u-1"}) for _ in range(10)]
        pids.extend(answer.json()["pid"] for answer in answers)
        return len(set(pids)) == 2

    eventually(ask_some, SECONDS, "both workers to answer")
    eventually(lambda: away.spilled() == len(pids), SECONDS, "all events on disk")
    os.killpg(server.pid, signal.SIGKILL)
    server.kill()
    away.deliver()

    found = {producer: once(numbers) for producer, numbers in away.numbers().items()}
    assert sorted(pids.count(pid) for pid in set(pids)) == sorted(map(len, found.values()))
    assert all(is_whole(numbers) for numbers in found.values())


@pytest.mark.parametrize("events", [200, 1_000, 5_000, 12_345])
def test_killed_at_any_byte_the_files_are_whole(
    run_program: Programs, tmp_path: Path, events: int
) -> None:
    """A process that writes at full speed, killed anywhere, keeps each event that it reported."""
    environment = {"USAGEPIPE_KAFKA": NOWHERE, "USAGEPIPE_SPILL_DIR": str(tmp_path / "spill")}
    recording = Recording(run_program, environment, 1_000_000)
    recording.wait_for("spilled", events)
    recording.program.kill()

    segments = Segments(next((tmp_path / "spill").rglob("*.spill")).parent, 1)
    found = [each.read() for each in segments.take(10_000)]

    numbers = [decode(value).sequence for each in found for _, value in each.records]
    assert list(range(1, len(numbers) + 1)) == numbers
    assert len(numbers) >= recording.last("spilled")
    assert sum(each.lost for each in found) <= 1

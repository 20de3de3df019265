"""The recorder delivers when a process ends, and shares nothing with a forked child."""

import sys
from pathlib import Path

from tests.support.programs import Program, Programs
from tests.support.topics import sequences

SECONDS = 30


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

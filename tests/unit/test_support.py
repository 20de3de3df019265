"""The helpers that all tests stand on."""

import fcntl
import sys
import threading
from pathlib import Path

import pytest

from tests.support.installs import ROOT
from tests.support.programs import Program, as_environment, clean_environment
from tests.support.servers import REQUIRE_VARIABLE, skip_or_fail
from tests.support.side_by_side import Turns, locked, servers_line
from tests.support.waiting import eventually
from usagepipe.schemas.settings import Settings


def test_waiting_ends_with_what_was_waited_for() -> None:
    """A condition that never holds fails with the goal and the last value."""
    with pytest.raises(AssertionError, match="waited 0 s for rows; last seen: 0"):
        eventually(lambda: 0, 0, "rows")


def test_a_missing_server_skips_with_the_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has no server learns how to name one."""
    monkeypatch.delenv(REQUIRE_VARIABLE, raising=False)

    with pytest.raises(pytest.skip.Exception, match=r"no Kafka \(no Java\): set WHERE"):
        skip_or_fail("Kafka", "WHERE", "no Java")


def test_a_missing_server_fails_where_servers_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In CI no test is skipped for want of a server."""
    monkeypatch.setenv(REQUIRE_VARIABLE, "1")

    with pytest.raises(pytest.fail.Exception, match="no Kafka"):
        skip_or_fail("Kafka", "WHERE", "no Java")


def test_a_program_that_ended_early_fails_with_its_last_words(tmp_path: Path) -> None:
    """Waiting for a line of a crashed program fails at once with its last words."""
    command = [sys.executable, "-c", "raise SystemExit('no such file')"]
    program = Program(command, clean_environment(), tmp_path, "crash")

    with pytest.raises(AssertionError, match=r"ended with 1(.|\n)*no such file"):
        program.wait_for_output("ready")
    program.kill()


def test_a_killed_test_run_leaves_no_process(tmp_path: Path) -> None:
    """`kill -9` of the process that started a server ends the server, too."""
    code = """
import subprocess, time
from tests.support.tether import Tether
server = subprocess.Popen(["sleep", "600"])
Tether(server.pid)
print(server.pid, flush=True)
time.sleep(600)
"""
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    run = Program([sys.executable, "-c", code], environment, tmp_path, "run")
    server = int(eventually(lambda: run.stdout.strip(), 30, run.tail))

    run.kill()

    eventually(lambda: not _runs(server), 10, "the server to end")


def _runs(pid: int) -> bool:
    """Whether the process is there and no zombie (nobody may reap it in a container)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_settings_survive_the_way_through_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program loads the very settings that the test made."""
    given = Settings.load(kafka="127.0.0.1:1", enabled=False, batch_seconds=0.5)

    for name, value in as_environment(given).items():
        monkeypatch.setenv(name, value)

    assert given == Settings.load()


def test_a_test_that_runs_alone_waits_for_others_and_lets_none_start(tmp_path: Path) -> None:
    """A test that measures time shares the machine with no other test of the run."""
    turns, order, first_may_end = Turns(tmp_path), list[str](), threading.Event()

    def run(name: str, *, alone: bool = False) -> threading.Thread:
        def test() -> None:
            order.append(f"{name} waits")
            with turns.turn(alone=alone):
                order.append(f"{name} runs")
                if name == "first":
                    first_may_end.wait(30)
                order.append(f"{name} ends")

        thread = threading.Thread(target=test)
        thread.start()
        return thread

    first = run("first")
    eventually(lambda: "first runs" in order)
    beside = run("beside")
    beside.join(30)
    timed = run("timed", alone=True)
    eventually(lambda: _is_locked(tmp_path / "door"))
    late = run("late")
    late.join(0.2)  # it could run, if it were let
    assert not {"timed runs", "late runs"} & set(order)
    first_may_end.set()
    for thread in (first, timed, late):
        thread.join(30)

    ran = [line for line in order if not line.endswith("waits")]
    assert ["first runs", "beside runs", "beside ends", "first ends"] == ran[:4]
    assert ["timed runs", "timed ends", "late runs", "late ends"] == ran[4:]


def _is_locked(path: Path) -> bool:
    try:
        with locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


def test_the_servers_of_all_processes_are_counted() -> None:
    """The end of a run names each server once."""
    assert "servers: none" == servers_line([])
    assert "servers: Kafka (2); ClickHouse" == servers_line(["Kafka", "ClickHouse", "Kafka"])

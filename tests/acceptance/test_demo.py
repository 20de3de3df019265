"""`usagepipe demo` as a user runs it: it balances, it fails when it must, it leaves nothing."""

import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.support.clickhouse_server import url_of
from tests.support.programs import Program, Programs
from tests.support.waiting import eventually
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.settings import ClickHouseAddress

GONE_SECONDS = 5

SECONDS = 120
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:15:{n % 60:02}.5,{n},{n // 3}\n" for n in range(300)
)
PROMPT, COMPLETION = f"{sum(range(300)):,}", f"{sum(n // 3 for n in range(300)):,}"


class Demo:
    """A run of the demo whose processes can be found: all have its folder as TMPDIR."""

    def __init__(self, run_program: Programs, folder: Path) -> None:
        self._run_program = run_program
        self.folder = folder

    def start(self, *arguments: str, **environment: str) -> Program:
        own = {"TMPDIR": str(self.folder), **environment}
        return self._run_program("demo", *arguments, environment=own)

    def command(self, line: str) -> Program:
        """Another command, as a line of output shows it."""
        return self._run_program(*shlex.split(line))

    def processes(self, words: str = "") -> list[int]:
        """The processes of the run, zombies included, with `words` in their command line."""
        mark = f"TMPDIR={self.folder}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
                command = (process / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if mark in environment and words in command.replace("\0", " "):
                found.append(int(process.name))
        return found

    def wait_until_gone(self) -> None:
        """Fail unless every process of the run ends, soon after the run itself.

        Not in the same instant: a child that was just being started is ended by the kernel when
        its parent is gone, which takes a moment.
        """
        eventually(lambda: not self.processes(), GONE_SECONDS, lambda: f"end of {self.processes()}")


@pytest.fixture
def demo(run_program: Programs, tmp_path: Path) -> Demo:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return Demo(run_program, folder)


@pytest.fixture
def _ctrl_c_is_not_ignored() -> Iterator[None]:
    """A shell's background jobs ignore SIGINT, and their children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_demo_balances_and_leaves_nothing(demo: Demo) -> None:
    """One command shows usage by source and by key, balances, and is gone without a trace."""
    program = demo.start("--requests", "400")

    assert 0 == program.wait(SECONDS), program.tail()
    assert "Usage by source" in program.stdout
    assert "Usage by key" in program.stdout
    assert "It equals the stored cost, to the last digit." in program.stdout
    assert "Balanced: 400 requests sent = delivered = stored" in program.stdout
    demo.wait_until_gone()
    assert [] == list(demo.folder.iterdir())


def test_a_trace_arrives_to_the_last_token_and_twice(demo: Demo, tmp_path: Path) -> None:
    """Every token of a trace file is counted; a second run on the same data balances, too."""
    trace = tmp_path / "trace.csv"
    trace.write_text(TRACE)
    for _ in range(2):
        program = demo.start("--trace", str(trace), "--data", str(tmp_path / "data"))

        assert 0 == program.wait(SECONDS), program.tail()
        (sums,) = (line for line in program.stdout.splitlines() if "usage_events" in line)
        assert {"300", PROMPT, COMPLETION} <= set(sums.split())


def test_a_wrong_trace_is_reported_before_anything_starts(demo: Demo, tmp_path: Path) -> None:
    """Exit status 2 and one line that names file, line and column."""
    trace = tmp_path / "trace.csv"
    trace.write_text(TRACE + "2023-11-16 18:15:46,-5,1\n")

    program = demo.start("--trace", str(trace))

    assert 2 == program.wait(SECONDS), program.tail()
    assert f"Error: {trace}, line 302: column ContextTokens is '-5'" in program.stderr
    assert "" == program.stdout
    assert "Starting" not in program.stderr


@pytest.mark.usefixtures("_ctrl_c_is_not_ignored")
@pytest.mark.parametrize(
    ("stage", "number", "status"),
    [
        ("Starting servers", signal.SIGINT, 130),
        ("Starting worker", signal.SIGINT, 130),
        ("Sending requests", signal.SIGINT, 130),
        ("Sending requests", signal.SIGTERM, 143),
    ],
)
def test_ctrl_c_stops_everything_at_once(
    demo: Demo, stage: str, number: signal.Signals, status: int
) -> None:
    """At any stage: no process, no file and no traceback is left."""
    program = demo.start("--speed", "1")
    program.wait_for_output(stage)

    program.send_signal(number)

    assert status == program.wait(10), program.tail()
    demo.wait_until_gone()
    assert [] == list(demo.folder.iterdir())
    assert "Traceback" not in program.stderr


@pytest.mark.parametrize("name", ["worker", "gateway"])
def test_a_part_that_dies_ends_the_demo(demo: Demo, name: str) -> None:
    """A killed worker or gateway is named, and nothing is left."""
    program = demo.start("--speed", "1")
    program.wait_for_output("Sending requests")
    command = "main() worker" if name == "worker" else "demo.gateway"
    (pid,) = demo.processes(command)

    os.kill(pid, signal.SIGKILL)

    assert 1 == program.wait(20), program.tail()
    assert f"Error: The {name} ended with status -9." in program.stderr
    demo.wait_until_gone()
    assert [] == list(demo.folder.iterdir())


def test_the_demo_runs_on_servers_of_the_user(
    demo: Demo, kafka: str, migrated: ClickHouseAddress
) -> None:
    """The user's servers get nothing that stays, and the user's tables nothing at all."""
    program = demo.start(
        "--requests", "300", "--kafka", kafka, USAGEPIPE_CLICKHOUSE=url_of(migrated)
    )

    assert 0 == program.wait(SECONDS), program.tail()
    assert "Balanced: 300 requests" in program.stdout
    assert ([], []) == (databases(migrated), topics(kafka))
    with connect(migrated) as client:
        assert 0 == client.command("SELECT count() FROM usage_events")


def test_sums_that_differ_end_with_status_1(
    demo: Demo, kafka: str, migrated: ClickHouseAddress
) -> None:
    """One surplus request in one rollup is found and named, and the demo fails."""
    program = demo.start(
        "--requests",
        "300",
        "--speed",
        "10",
        "--kafka",
        kafka,
        USAGEPIPE_CLICKHOUSE=url_of(migrated),
    )
    program.wait_for_output("Sending requests")
    (database,) = databases(migrated)

    with connect(migrated) as client:
        client.command(
            f"INSERT INTO {database}.rollup_usage_1d (bucket, source, requests) "
            "VALUES (now(), 'web', 1)"
        )

    assert 1 == program.wait(SECONDS), program.tail()
    assert "rollup_usage_1d: requests is 301, 300 were sent (+1)" in program.stdout
    assert "Balanced:" not in program.stdout
    assert [] == databases(migrated)


@pytest.mark.parametrize(
    ("option", "address", "reported"),
    [
        ("--clickhouse", "http://127.0.0.1:9/default", "ClickHouse at http://127.0.0.1:9/"),
        ("--kafka", "127.0.0.1:9", "Kafka at 127.0.0.1:9"),
    ],
)
def test_a_server_that_is_not_there_is_named(
    demo: Demo, option: str, address: str, reported: str
) -> None:
    """Exit status 3, the address that does not answer, and no warning about leftovers."""
    program = demo.start("--requests", "5", option, address)

    assert 3 == program.wait(SECONDS), program.tail()
    assert reported in program.stderr
    assert "demo_leftover" not in program.stderr
    demo.wait_until_gone()


def databases(address: ClickHouseAddress) -> list[str]:
    """The databases of runs of the demo on a server."""
    with connect(address) as client:
        names = client.query("SELECT name FROM system.databases").result_rows
    return [name for (name,) in names if name.startswith("usagepipe_demo_")]


def topics(kafka: str) -> list[str]:
    """The topics of runs of the demo on a broker."""
    admin = AdminClient({"bootstrap.servers": kafka})
    return [name for name in admin.list_topics(timeout=10).topics if ".demo_" in name]


def test_the_printed_commands_work_as_printed(demo: Demo, tmp_path: Path) -> None:
    """What was kept is shown by the commands that the demo prints, word for word."""
    folder = tmp_path / "a folder's data"
    run = demo.start("--requests", "40", "--keep", "--data", str(folder))
    assert 0 == run.wait(SECONDS)

    local, usage, explain = re.findall(r"^  usagepipe (.*)$", run.stdout, re.MULTILINE)
    server = demo.command(local)
    server.wait_for_output('"clickhouse"')
    shown = demo.command(usage)
    explained = demo.command(explain)

    assert 0 == shown.wait(SECONDS)
    assert 0 == explained.wait(SECONDS)
    assert "It equals the stored cost, to the last digit." in explained.stdout
    assert "Usage of all time" in shown.stdout
    assert "By key" in shown.stdout
    assert 0 == server.stop()

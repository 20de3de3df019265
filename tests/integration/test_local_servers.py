"""`usagepipe local` as a program: what it prints, keeps and refuses, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from clickhouse_connect.driver.client import Client

from tests.support.ports import is_answered
from tests.support.waiting import eventually
from usagepipe.local import LocalClickHouse, LocalServers
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.settings import ClickHouseAddress, Settings

COMMAND = [str(Path(sys.executable).parent / "usagepipe"), "local"]


def client_of(url: str) -> Client:
    return connect(ClickHouseAddress.parse(url))


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2].partition("/")[0])


@contextmanager
def running(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], dict[str, str | None]]]:
    """The command, up, and the addresses it printed."""
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def refused(*arguments: object) -> tuple[int, str]:
    """Exit status and errors of a start that must not succeed; it prints nothing else."""
    ended = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "" == ended.stdout
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr


def test_one_line_of_json_says_where_both_answer(tmp_path: Path) -> None:
    """Standard output is for programs: one line and no more; the rest is for people."""
    with running("--data", tmp_path / "data") as (process, addresses):
        clickhouse = addresses["clickhouse"]
        assert clickhouse is not None
        assert is_answered(port_of(str(addresses["kafka"])))
        assert 1 == client_of(clickhouse).command("SELECT 1")
        process.terminate()
        stdout, stderr = process.communicate(timeout=15)

    assert clickhouse == f"http://127.0.0.1:{port_of(clickhouse)}/usagepipe"
    assert (0, "") == (process.returncode, stdout)
    assert "memory" in stderr
    assert str(tmp_path / "data") in stderr


def test_kafka_is_null_when_it_is_not_wanted(tmp_path: Path) -> None:
    """`--no-kafka` is for those who have one."""
    with running("--data", tmp_path / "data", "--no-kafka") as (_, addresses):
        assert addresses["kafka"] is None


@pytest.mark.alone
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_it_at_once(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """Ctrl-C and a service manager's stop, with no noise."""
    with running("--data", tmp_path / "data") as (process, addresses):
        begun = time.monotonic()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=15)

    assert status == process.returncode
    assert time.monotonic() - begun < 5
    assert "Traceback" not in stderr
    assert not is_answered(port_of(str(addresses["kafka"])))


def test_running_query_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """Nothing that runs inside the engine can be interrupted, and still it ends."""
    query = "SELECT sleepEachRow(1) FROM numbers(60) SETTINGS max_block_size = 1"
    with running("--data", tmp_path / "data", "--no-kafka") as (process, addresses):
        client = client_of(str(addresses["clickhouse"]))
        other = client_of(str(addresses["clickhouse"]))
        slow = threading.Thread(target=_fail_quietly, args=(client, query), daemon=True)
        slow.start()
        asked = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEach%'"
        eventually(lambda: int(str(other.command(asked))) > 1, what="the query to run")
        begun = time.monotonic()
        process.terminate()
        process.wait(30)

    assert 0 == process.returncode
    assert time.monotonic() - begun < 10


def _fail_quietly(client: Client, query: str) -> None:
    try:
        client.query(query)
    except Exception:  # the server ends under it: that is the test
        return


def test_data_are_found_again(tmp_path: Path) -> None:
    """A second start with the folder has the data of the first one."""
    clickhouse = LocalClickHouse(tmp_path / "data")
    with clickhouse:
        client = client_of(clickhouse.url)
        client.command("CREATE TABLE t (i UInt32) ENGINE = MergeTree ORDER BY i")
        client.insert("t", [[1], [2]])
    with clickhouse:
        assert 3 == client_of(clickhouse.url).command("SELECT sum(i) FROM t")


def test_tables_of_an_older_version_stay_in_use(tmp_path: Path) -> None:
    """A folder whose events lie in `default` is announced with `default` again, and says so."""
    with LocalClickHouse(tmp_path / "data") as clickhouse:
        migrate(Settings.load(clickhouse=f"{clickhouse.url}/default"))

    with running("--data", tmp_path / "data", "--no-kafka") as (process, addresses):
        announced = str(addresses["clickhouse"])
        process.terminate()
        _, stderr = process.communicate(timeout=15)

    assert announced.endswith("/default")
    assert "keeps using the database `default`" in stderr


def test_tables_in_both_databases_leave_it_with_its_own(tmp_path: Path) -> None:
    """`default` counts only while `usagepipe` has no tables."""
    with LocalClickHouse(tmp_path / "data") as clickhouse:
        migrate(Settings.load(clickhouse=f"{clickhouse.url}/default"))
        migrate(Settings.load(clickhouse=f"{clickhouse.url}/usagepipe"))
    with LocalClickHouse(tmp_path / "data") as clickhouse:
        assert f"{clickhouse.url}/usagepipe" == clickhouse.clickhouse


def test_what_was_answered_survives_a_crash(tmp_path: Path) -> None:
    """`kill -9` right after the answer, again and again: every answered row is there."""
    clickhouse = LocalClickHouse(tmp_path / "data")
    clickhouse.start()
    url = clickhouse.url
    create = "CREATE TABLE t (i UInt32) ENGINE = MergeTree ORDER BY i"
    client_of(url).command(create)
    counts = []
    for _ in range(3):
        client_of(url).raw_insert("t", ["i"], b'{"i":1}\n' * 20_000, fmt="JSONEachRow")
        clickhouse.kill()
        clickhouse.start()
        counts.append(client_of(url).command("SELECT count() FROM t"))
    clickhouse.stop()

    assert [20_000, 40_000, 60_000] == counts
    assert url == clickhouse.url


def test_token_is_remembered_over_a_crash(tmp_path: Path) -> None:
    """An insert that was answered and is sent again after a crash adds nothing."""
    clickhouse = LocalClickHouse(tmp_path / "data")
    clickhouse.start()
    client_of(clickhouse.url).command(
        "CREATE TABLE t (i UInt32, at DateTime64(6) DEFAULT now64(6)) ENGINE = MergeTree "
        "ORDER BY i SETTINGS non_replicated_deduplication_window = 100"
    )
    for _ in range(2):
        settings = {"insert_deduplication_token": "t"}
        client = client_of(clickhouse.url)
        client.raw_insert("t", ["i"], b'{"i":1}\n', fmt="JSONEachRow", settings=settings)
        clickhouse.kill()
        clickhouse.start()
    rows = client_of(clickhouse.url).command("SELECT count() FROM t")
    clickhouse.stop()

    assert 1 == rows


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    """The message says who has it and where it answers."""
    with LocalClickHouse(tmp_path / "data") as clickhouse:
        status, message = refused("--data", tmp_path / "data")

        assert 2 == status
        assert f"in use by process {clickhouse.pid}" in message
        assert clickhouse.url in message
        with pytest.raises(WrongUseError, match="in use"):
            LocalClickHouse(tmp_path / "data").start()


@pytest.mark.parametrize("option", ["--kafka-port", "--clickhouse-port"])
def test_taken_port_is_refused(tmp_path: Path, option: str) -> None:
    """The message names port and option."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        status, message = refused("--data", tmp_path / "data", option, port)

    assert 2 == status
    assert f"Port {port}" in message
    assert option in message


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "/proc/usagepipe"],
        ["--data", "/etc"],
        ["--no-kafka", "--kafka-port", "5"],
        ["--clickhouse-port", "65536"],
    ],
)
def test_wrong_use_is_a_sentence(arguments: list[str]) -> None:
    """Exit status 2 and no traceback."""
    status, message = refused(*arguments)

    assert 2 == status
    assert "Error: " in message


def test_broken_engine_files_are_a_sentence(tmp_path: Path) -> None:
    """Where the engine cannot open its folder, the folder is named."""
    with LocalClickHouse(tmp_path / "data"):
        pass
    (tmp_path / "data" / "clickhouse").rename(tmp_path / "elsewhere")
    (tmp_path / "data" / "clickhouse").write_text("no folder")

    status, message = refused("--data", tmp_path / "data", "--no-kafka")

    assert 2 == status
    assert str(tmp_path / "data") in message


def test_both_end_when_the_broker_dies(tmp_path: Path) -> None:
    """If one server ends, both end, and the exit status says so."""
    with running("--data", tmp_path / "data") as (process, _):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        _, stderr = process.communicate(timeout=15)

    assert 3 == process.returncode
    assert "broker" in stderr


def test_broker_goes_with_a_killed_parent(tmp_path: Path) -> None:
    """A crash leaves no stray broker."""
    with running("--data", tmp_path / "data") as (process, addresses):
        process.kill()

        eventually(
            lambda: not is_answered(port_of(str(addresses["kafka"]))), what="the broker to end"
        )


def test_servers_go_with_a_killed_maker(tmp_path: Path) -> None:
    """A killed demo or test run leaves no servers."""
    program = (
        "import pathlib, sys, time; from usagepipe.local import LocalServers\n"
        "servers = LocalServers(pathlib.Path(sys.argv[1])); servers.start()\n"
        "print(servers.kafka, servers.clickhouse, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout is not None
        addresses = maker.stdout.readline().split()
        maker.kill()

    assert 2 == len(addresses)
    eventually(
        lambda: not any(is_answered(port_of(address)) for address in addresses),
        what=f"{addresses} to end",
    )


def test_servers_come_back_on_their_ports(tmp_path: Path) -> None:
    """The addresses stay the same over a restart."""
    servers = LocalServers(tmp_path / "data")
    with servers:
        before = (servers.kafka, servers.clickhouse)
        pid = servers.pid
    with servers:
        assert before == (servers.kafka, servers.clickhouse)
        assert pid != servers.pid
        assert "127.0.0.1" == urlsplit(servers.clickhouse).hostname
    assert 0 == servers.pid

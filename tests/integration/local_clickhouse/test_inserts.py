"""What clients write into the embedded ClickHouse: tokens, blocks, ways to insert."""

import socket
import threading
from collections.abc import Generator
from urllib.parse import urlsplit

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.support.embedded_clickhouse import HARD_TEXTS, ask, json_rows, peak_memory_kib
from tests.support.waiting import eventually
from usagepipe.local import LocalClickHouse

# Only its token identifies an insert: a row's time makes the content of each one different.
STAMPED_TABLE = (
    "CREATE TABLE raw (i UInt32, at DateTime64(6) DEFAULT now64(6)) ENGINE = MergeTree ORDER BY i "
    "SETTINGS non_replicated_deduplication_window = {window:UInt32}"
)
ROLLUP = (
    "CREATE TABLE rollup (i UInt32, rows SimpleAggregateFunction(sum, UInt64)) "
    "ENGINE = AggregatingMergeTree ORDER BY i "
    "SETTINGS non_replicated_deduplication_window = {window:UInt32}"
)
ROLLUP_VIEW = (
    "CREATE MATERIALIZED VIEW rollup_mv TO rollup AS SELECT i, count() AS rows FROM raw GROUP BY i"
)

pytestmark = pytest.mark.one_process


def test_same_token_twice_is_one_block(client: Client) -> None:
    """The token in the URL reaches the table: a retry adds nothing, another token does."""
    client.command(STAMPED_TABLE, parameters={"window": 100})

    for token in ("a'b", "a'b", "other"):
        client.raw_insert(
            "raw",
            ["i"],
            json_rows(10),
            fmt="JSONEachRow",
            settings={"insert_deduplication_token": token},
        )

    assert 20 == client.command("SELECT count() FROM raw")


@pytest.mark.parametrize(
    ("raw_window", "rollup_window", "flag", "raw_rows", "rollup_rows"),
    [(100, 100, 1, 10, 10), (100, 100, 0, 10, 20), (100, 0, 1, 10, 20), (0, 0, 1, 20, 20)],
)
def test_windows_and_flag_reach_the_views(
    client: Client,
    raw_window: int,
    rollup_window: int,
    flag: int,
    raw_rows: int,
    rollup_rows: int,
) -> None:
    """A retried insert counts once in a rollup only with its own window and the flag."""
    client.command(STAMPED_TABLE, parameters={"window": raw_window})
    client.command(ROLLUP, parameters={"window": rollup_window})
    client.command(ROLLUP_VIEW)

    for _ in range(2):
        client.raw_insert(
            "raw",
            ["i"],
            json_rows(10),
            fmt="JSONEachRow",
            settings={
                "insert_deduplication_token": "t",
                "deduplicate_blocks_in_dependent_materialized_views": flag,
            },
        )

    assert client.command("SELECT count() FROM raw") == raw_rows
    assert client.command("SELECT sum(rows) FROM rollup") == rollup_rows


@pytest.mark.parametrize(("block", "parts"), [(1_000, 10), (100_000, 1)])
def test_block_settings_cut_an_insert(client: Client, block: int, parts: int) -> None:
    """`max_insert_block_size` decides how many blocks an insert is, not how it arrives."""
    client.command("CREATE TABLE t (i UInt32) ENGINE = MergeTree ORDER BY i")
    client.command("SYSTEM STOP MERGES t")

    client.raw_insert(
        "t",
        ["i"],
        json_rows(10_000),
        fmt="JSONEachRow",
        settings={
            "max_insert_block_size": block,
            "min_insert_block_size_rows": 0,
            "min_insert_block_size_bytes": 0,
            "input_format_parallel_parsing": 0,
        },
    )

    counted = "SELECT count() FROM system.parts WHERE active AND database = currentDatabase()"
    assert client.command(counted) == parts


def test_parameters_reach_an_insert(server: LocalClickHouse, client: Client) -> None:
    """Table and values of an INSERT may be parameters too."""
    client.command("CREATE TABLE t (s String) ENGINE = Memory")
    path = f"/?database={client.database}&param_table=t&param_s=it%27s%5Cn"

    status, text, _ = ask(server, b"INSERT INTO {table:Identifier} VALUES ({s:String})", path)

    assert (200, b"") == (status, text)
    assert [("it's\n",)] == client.query("SELECT s FROM t").result_rows


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_settings_keep_every_character(client: Client, text: str) -> None:
    """A setting's text never leaves its quotes."""
    rows = client.query("SELECT getSetting('log_comment')", settings={"log_comment": text})

    assert rows.result_rows == [(text,)]


def test_settings_end_with_their_request(client: Client) -> None:
    """Requests share an engine and no settings."""
    client.query("SELECT 1", settings={"log_comment": "mine"})

    assert [("",)] == client.query("SELECT getSetting('log_comment')").result_rows


def test_time_format_of_an_insert_is_obeyed(client: Client) -> None:
    """`best_effort` reads ISO times, `basic` refuses them."""
    client.command("CREATE TABLE t (at DateTime64(3, 'UTC')) ENGINE = Memory")
    row = b'{"at":"2026-01-02T03:04:05.678Z"}'

    def insert(how: str) -> None:
        settings = {"date_time_input_format": how}
        client.raw_insert("t", None, row, fmt="JSONEachRow", settings=settings)

    insert("best_effort")
    with pytest.raises(DatabaseError):
        insert("basic")

    assert "2026-01-02 03:04:05.678" == client.command("SELECT toString(at) FROM t")


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b"INSERT INTO t (i) VALUES (1), (2);"),
        ("", b'INSERT INTO t FORMAT JSONEachRow {"i":1} {"i":2}'),
        ("", b"INSERT INTO t SELECT number FROM numbers(2)"),
        ("INSERT+INTO+t+FORMAT+TSV", b"1\n2\n"),
        ("INSERT+INTO+t+VALUES", b"(1),(2)"),
        ("INSERT+INTO+t", b"FORMAT CSV\n1\n2\n"),
    ],
)
def test_every_way_to_write_an_insert(
    server: LocalClickHouse, client: Client, query: str, body: bytes
) -> None:
    """Statement and data may be in the URL, in the body, or in both."""
    client.command("CREATE TABLE t (i UInt32) ENGINE = Memory")

    status, text, headers = ask(server, body, f"/?database={client.database}&query={query}")

    assert (200, b"") == (status, text)
    assert '"written_rows": "2"' in headers["x-clickhouse-summary"]
    assert 2 == client.command("SELECT count() FROM t")


def test_several_inserts_really_run_at_once(server: LocalClickHouse, client: Client) -> None:
    """Four inserts are all half sent before any is finished: each waits for the others."""
    client.command("CREATE TABLE t (i UInt32) ENGINE = Memory")
    all_begun = threading.Barrier(4)

    def insert(first: int) -> None:
        def rows() -> Generator[bytes, None, None]:
            yield json_rows(1_000, first)
            all_begun.wait(30)
            yield json_rows(1_000, first + 1_000)

        client.raw_insert("t", ["i"], rows(), fmt="JSONEachRow")

    threads = [threading.Thread(target=insert, args=(n * 2_000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 8_000 == client.command("SELECT uniqExact(i) FROM t")


def test_insert_is_parsed_while_it_arrives(server: LocalClickHouse, client: Client) -> None:
    """A body of 400 MB does not pass through the server's memory."""
    client.command("CREATE TABLE t (i UInt32, s String) ENGINE = Null")
    part = b"".join(b'{"i":%d,"s":"%s"}\n' % (i, b"x" * 1_000) for i in range(1_000))
    before = peak_memory_kib(server.pid)

    client.raw_insert(
        "t",
        None,
        (part for _ in range(400)),
        fmt="JSONEachRow",
        settings={"max_insert_block_size": 10_000, "min_insert_block_size_bytes": 1 << 20},
    )

    assert peak_memory_kib(server.pid) - before < 200_000


def test_insert_whose_client_goes_away_leaves_nothing(
    server: LocalClickHouse, client: Client
) -> None:
    """A body that breaks off inserts nothing; the server continues."""
    client.command("CREATE TABLE t (i UInt32) ENGINE = MergeTree ORDER BY i")
    address = urlsplit(server.url)
    head = (
        f"POST /?database={client.database} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        "Content-Length: 1000000\r\n\r\nINSERT INTO t FORMAT JSONEachRow\n"
    )
    running = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO t%'"

    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + json_rows(1_000))
    eventually(lambda: client.command(running) == 0, what="the insert to be given up")

    assert 0 == client.command("SELECT count() FROM t")

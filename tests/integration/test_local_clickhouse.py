"""The embedded ClickHouse behind its HTTP interface, as clickhouse-connect and others see it."""

import http.client
import socket
import threading
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from tests.support.waiting import eventually
from usagepipe.local import LocalClickHouse
from usagepipe.local.clickhouse.front import GATHERED_BYTES
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.settings import ClickHouseAddress

HARD_TEXTS = [
    "it's",
    'say "hi" `now`',
    "back\\slash \\n \\0 \\N",
    "line\nline\r\n\tend",
    "nul\0byte",
    "🙂 naïve Ω",
    "'; DROP TABLE t --",
    "",
]
# Every insert is told apart by its token alone: a row's time makes its content unlike any other.
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    with LocalClickHouse(tmp_path_factory.mktemp("local") / "data") as server:
        yield server


def client_of(server: LocalClickHouse, database: str | None = None, **options: Any) -> Client:
    return connect(ClickHouseAddress.parse(server.url), database=database, **options)


@pytest.fixture
def client(server: LocalClickHouse) -> Iterator[Client]:
    """A client in a database of the test's own."""
    database = f"test_{uuid.uuid4().hex}"
    with client_of(server) as first:
        first.command(f"CREATE DATABASE {database}")
    with client_of(server, database) as client:
        yield client
        client.command(f"DROP DATABASE {database}")


def ask(
    server: LocalClickHouse,
    body: bytes = b"",
    path: str = "/",
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of a bare HTTP request."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def json_rows(count: int, first: int = 0) -> bytes:
    return b"".join(b'{"i":%d}\n' % i for i in range(first, first + count))


def peak_memory_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


# What a client reads


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_parameters_keep_every_character(client: Client, text: str) -> None:
    """Quotes, line ends, NUL and emoji come back as they were sent."""
    rows = client.query("SELECT {x:String}", parameters={"x": text}).result_rows

    assert rows == [(text,)]


def test_long_parameters_travel_as_a_form(client: Client) -> None:
    """clickhouse-connect sends what is too long for a URL as multipart fields."""
    text = "'\n🙂\\" * 5_000
    rows = client.query("SELECT {x:String}, {y:Array(String)}", {"x": text, "y": [text, "b"]})

    assert rows.result_rows == [(text, [text, "b"])]


@pytest.mark.parametrize("compress", [False, "gzip", "lz4", "zstd"])
def test_rows_travel_in_every_coding(
    server: LocalClickHouse, client: Client, compress: str
) -> None:
    """Native inserts and answers are the same in each coding that clickhouse-connect has."""
    client.command("CREATE TABLE t (i UInt32, s LowCardinality(String)) ENGINE = Memory")
    rows = [(i, f"text {i % 7}") for i in range(50_000)]

    with client_of(server, client.database, compress=compress) as packed:
        packed.insert("t", rows)

        assert packed.query("SELECT * FROM t ORDER BY i").result_rows == rows


def test_answer_is_sent_while_it_is_computed(server: LocalClickHouse, client: Client) -> None:
    """An answer of 800 MB does not pass through the server's memory."""
    before = peak_memory_kib(server.pid)
    rows = 0

    with client.query_row_block_stream(
        "SELECT toString(number) || repeat('x', 190) FROM numbers(4000000)"
    ) as blocks:
        for block in blocks:
            rows += len(block)

    assert rows == 4_000_000
    assert peak_memory_kib(server.pid) - before < 300_000


@pytest.mark.parametrize(
    ("answer_format", "answer"),
    [
        ("TabSeparated", b"0\n1\n"),
        ("CSVWithNames", b'"n"\n0\n1\n'),
        ("JSONEachRow", b'{"n":0}\n{"n":1}\n'),
        ("JSONCompactEachRowWithNames", b'["n"]\n[0]\n[1]\n'),
    ],
)
def test_format_may_be_the_statements_or_the_urls(
    server: LocalClickHouse, answer_format: str, answer: bytes
) -> None:
    """`FORMAT` in the statement wins over `default_format`; names stand once, at the head."""
    query = b"SELECT toUInt8(number) AS n FROM numbers(2)"
    named = ask(server, query + b" FORMAT " + answer_format.encode(), "/?default_format=XML")
    default = ask(server, query, f"/?default_format={answer_format}")

    assert (200, answer) == named[:2]
    assert (200, answer) == default[:2]
    assert named[2]["x-clickhouse-format"] == answer_format


def test_answer_without_rows_keeps_its_head(server: LocalClickHouse) -> None:
    """A format with a head has it also when there is nothing below."""
    assert ask(server, b"SELECT 1 AS a WHERE 0 FORMAT CSVWithNames")[:2] == (200, b'"a"\n')
    assert ask(server, b"SELECT 1 AS a WHERE 0")[:2] == (200, b"")


def test_statements_with_an_answer_that_are_no_select(client: Client) -> None:
    """SHOW, DESCRIBE, EXISTS and EXPLAIN answer."""
    client.command("CREATE TABLE t (i UInt32) ENGINE = Memory")

    assert client.query("SHOW TABLES").result_rows == [("t",)]
    assert client.query("DESCRIBE t").result_rows[0][:2] == ("i", "UInt32")
    assert client.command("EXISTS t") == 1
    assert "ReadFromMemoryStorage" in str(client.query("EXPLAIN SELECT * FROM t").result_rows)


# What a client writes


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

    assert client.command("SELECT count() FROM raw") == 20


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
    assert client.query("SELECT s FROM t").result_rows == [("it's\n",)]


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_settings_keep_every_character(client: Client, text: str) -> None:
    """A setting's text never leaves its quotes."""
    rows = client.query("SELECT getSetting('log_comment')", settings={"log_comment": text})

    assert rows.result_rows == [(text,)]


def test_settings_end_with_their_request(client: Client) -> None:
    """Requests share an engine and no settings."""
    client.query("SELECT 1", settings={"log_comment": "mine"})

    assert client.query("SELECT getSetting('log_comment')").result_rows == [("",)]


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

    assert client.command("SELECT toString(at) FROM t") == "2026-01-02 03:04:05.678"


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
    """Statement and data may stand in the URL, in the body, or in both."""
    client.command("CREATE TABLE t (i UInt32) ENGINE = Memory")

    status, text, headers = ask(server, body, f"/?database={client.database}&query={query}")

    assert (200, b"") == (status, text)
    assert '"written_rows": "2"' in headers["x-clickhouse-summary"]
    assert client.command("SELECT count() FROM t") == 2


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

    assert client.command("SELECT uniqExact(i) FROM t") == 8_000


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
    """A body that breaks off is no insert; the server goes on."""
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

    assert client.command("SELECT count() FROM t") == 0


# Errors


@pytest.mark.parametrize(
    ("statement", "status", "code"),
    [
        (b"SELECT * FROM nowhere", 404, 60),
        (b"SELEKT 1", 400, 62),
        (b"bare_word", 400, 62),
        (b"", 400, 62),
        (b"SELECT 1; SELECT 2", 400, 62),
        (b"SELECT 1 SETTINGS no_such_setting = 1", 404, 115),
        (b"SELECT {x:String}", 500, 456),
        (b"SELECT throwIf(1)", 500, 395),
        (b"SELECT 1 INTO OUTFILE '/tmp/usagepipe_test'", 501, 48),
        (b"INSERT INTO nowhere FORMAT JSONEachRow {}", 404, 60),
        (b'INSERT INTO FUNCTION null(\'i UInt8\') FORMAT JSONEachRow {"i":"x"}', 400, 27),
        (b"INSERT INTO FUNCTION null('i UInt8') FORMAT Nonsense\n1", 404, 73),
    ],
)
def test_errors_are_a_servers(
    server: LocalClickHouse, statement: bytes, status: int, code: int
) -> None:
    """Status, code in the header, and a text that begins with the code."""
    answer = ask(server, statement)

    assert (status, str(code)) == (answer[0], answer[2]["x-clickhouse-exception-code"])
    assert answer[1].startswith(b"Code: %d. DB::Exception: " % code)
    assert b"(version 2" in answer[1]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/?no_such_setting=1", 404, 115),
        ("/?bad+name=1", 404, 115),
        ("/?max_threads=many", 400, 27),
        ("/?database=nowhere", 404, 81),
        ("/?user=somebody", 403, 516),
        ("/?password=wrong", 403, 516),
    ],
)
def test_errors_of_the_url_are_a_servers(
    server: LocalClickHouse, path: str, status: int, code: int
) -> None:
    """Unknown settings, databases and users are errors and not passed over."""
    answer = ask(server, b"SELECT 1", path)

    assert (status, str(code)) == (answer[0], answer[2]["x-clickhouse-exception-code"])


def test_bad_row_refuses_the_whole_insert(client: Client) -> None:
    """Nothing of a block lands when one of its rows is wrong."""
    client.command("CREATE TABLE t (i UInt32) ENGINE = MergeTree ORDER BY i")

    with pytest.raises(DatabaseError) as caught:
        client.raw_insert("t", None, json_rows(5_000) + b'{"i":-1}\n', fmt="JSONEachRow")

    assert caught.value.code == 72
    assert client.command("SELECT count() FROM t") == 0


@pytest.mark.parametrize(
    ("statement", "body", "code", "text"),
    [
        ("CREATE TABLE t (i UInt8, CONSTRAINT few CHECK i < 5)", b'{"i":9}', 469, "`few`"),
        ("CREATE TABLE t (i UInt8, j UInt8 DEFAULT throwIf(i = 9))", b'{"i":9}', 395, "throwIf"),
    ],
)
def test_insert_that_fails_after_it_was_parsed_is_an_error(
    server: LocalClickHouse, client: Client, statement: str, body: bytes, code: int, text: str
) -> None:
    """chDB itself says that its rows are written, and none is."""
    client.command(f"{statement} ENGINE = MergeTree ORDER BY i")

    status, answer, headers = ask(
        server, b"INSERT INTO t FORMAT JSONEachRow\n" + body, f"/?database={client.database}"
    )

    assert status >= 400
    assert str(code) == headers["x-clickhouse-exception-code"]
    assert answer.startswith(b"Code: %d. DB::Exception: " % code)
    assert text.encode() in answer
    assert client.command("SELECT count() FROM t") == 0


def test_insert_whose_view_fails_is_an_error(server: LocalClickHouse, client: Client) -> None:
    """The table has the row, the view has not: whoever inserted must hear of it."""
    client.command("CREATE TABLE t (i UInt8) ENGINE = MergeTree ORDER BY i")
    client.command("CREATE MATERIALIZED VIEW v ENGINE = Null AS SELECT throwIf(i = 9) FROM t")

    with pytest.raises(DatabaseError, match="while pushing to view"):
        client.raw_insert("t", insert_block=b'{"i":9}', fmt="JSONEachRow")

    assert client.command("SELECT count() FROM t") == 1


def test_inserts_that_fail_at_once_are_all_errors(client: Client) -> None:
    """None is taken for stored: the others' errors make one's own unsure, never silent."""
    client.command("CREATE TABLE t (i UInt8, CONSTRAINT few CHECK i < 5) ENGINE = Memory")
    refused: list[int | None] = []

    def insert() -> None:
        for _ in range(10):
            try:
                client.raw_insert("t", insert_block=b'{"i":9}', fmt="JSONEachRow")
            except DatabaseError as error:
                refused.append(error.code)

    threads = [threading.Thread(target=insert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 40
    assert set(refused) <= {469, 319}


def test_error_half_way_is_an_error_of_the_client(client: Client) -> None:
    """What breaks when part of the answer is out is never taken for its end."""
    query = "SELECT throwIf(number = 2000000) FROM numbers(4000000)"

    with (
        pytest.raises(StreamFailureError, match="Code: 395"),
        client.query_row_block_stream(query) as blocks,
    ):
        for _ in blocks:
            pass


def test_whole_answers_have_their_error_as_a_status(client: Client) -> None:
    """`wait_end_of_query`, which `query` sends, never answers 200 for what breaks later."""
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT throwIf(number = 2000000) FROM numbers(4000000)")

    assert caught.value.code == 395


@pytest.mark.parametrize("coding", ["", "gzip", "lz4", "zstd"])
def test_a_small_answer_is_sent_whole(server: LocalClickHouse, coding: str) -> None:
    """With its length, so that a client sees a connection that breaks; empty ones too."""
    for query in (b"SELECT 7 FORMAT TSV", b"SELECT 7 WHERE 0 FORMAT TSV"):
        headers = {"Accept-Encoding": coding}
        status, body, told = ask(server, query, "/?enable_http_compression=1", headers=headers)

        assert (200, str(len(body))) == (status, told["content-length"])
        assert coding == told.get("content-encoding", "")


def test_an_error_in_a_small_answer_is_a_status(server: LocalClickHouse) -> None:
    """Nothing of it was sent before, as on a server that gathers what it sends."""
    query = b"SELECT throwIf(number = 100000) FROM numbers(200000) FORMAT TSV"

    status, body, _ = ask(server, query, "/?max_block_size=1000")

    assert (500, True) == (status, body.startswith(b"Code: 395"))


@pytest.mark.parametrize("path", ["/", "/?wait_end_of_query=1"])
@pytest.mark.parametrize("more", [-1, 0, 1, 3_000_000])
def test_an_answer_is_whole_around_what_is_gathered(
    server: LocalClickHouse, path: str, more: int
) -> None:
    """Just under, at and over the size from which on it is sent in parts."""
    size = GATHERED_BYTES + more
    query = f"SELECT repeat('x', 63) FROM numbers({size // 64 + 1}) FORMAT TSV"

    status, body, _ = ask(server, query.encode(), path)

    assert (200, (b"x" * 63 + b"\n") * (size // 64 + 1)) == (status, body)


# The interface around


@pytest.mark.parametrize("path", ["/", "/ping", "/replicas_status"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_server_says_that_it_is_up(server: LocalClickHouse, path: str, method: str) -> None:
    """What health checks ask for."""
    status, body, _ = ask(server, path=path, method=method)

    assert (200, b"Ok.\n" if method == "GET" else b"") == (status, body)


def test_unknown_path_is_not_found(server: LocalClickHouse) -> None:
    """There is no handle for it."""
    assert ask(server, path="/nowhere", method="GET")[0] == 404


def test_get_reads_and_never_writes(server: LocalClickHouse) -> None:
    """As on a server: a link must not change data."""
    read = ask(server, path="/?query=SELECT+1", method="GET")
    written = ask(server, path="/?query=CREATE+DATABASE+d", method="GET")

    assert (200, b"1\n") == read[:2]
    assert written[2]["x-clickhouse-exception-code"] == "164"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://example.org"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "example.org"},
        {"Host": ""},
    ],
)
def test_web_pages_are_refused(server: LocalClickHouse, headers: dict[str, str]) -> None:
    """The account has no password: a page in the user's browser must not be able to use it."""
    status, body, _ = ask(server, b"SELECT 1", headers=headers)

    assert status == 403
    assert b"Code: 497" in body


def test_query_id_comes_back(server: LocalClickHouse) -> None:
    """A client finds its request again by it."""
    assert ask(server, b"SELECT 1", "/?query_id=mine")[2]["x-clickhouse-query-id"] == "mine"


def test_long_request_line_is_taken(server: LocalClickHouse) -> None:
    """A server takes URLs of up to 1 MiB."""
    text = "x" * 500_000

    assert ask(server, b"SELECT length({x:String})", f"/?param_x={text}")[1] == b"500000\n"


def test_connection_is_kept(server: LocalClickHouse) -> None:
    """Also after an error: clients have pools."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    answers = []
    for query in (b"SELECT 1", b"SELECT nothing", b"SELECT 2"):
        connection.request("POST", "/", query)
        answers.append(connection.getresponse().read())
    connection.close()

    assert answers[0] == b"1\n"
    assert answers[2] == b"2\n"


def test_slow_query_holds_up_nobody(server: LocalClickHouse) -> None:
    """Requests run at once."""
    slow = threading.Thread(target=ask, args=(server, b"SELECT sleep(2)"))
    slow.start()
    begun = time.monotonic()
    status = ask(server, b"SELECT 1")[0]
    took = time.monotonic() - begun
    still_running = slow.is_alive()
    slow.join()

    assert status == 200
    assert still_running, took

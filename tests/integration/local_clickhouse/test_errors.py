"""Errors of the embedded ClickHouse are those of a server."""

import threading

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from tests.support.embedded_clickhouse import ask, json_rows
from usagepipe.local import LocalClickHouse
from usagepipe.local.clickhouse.front import GATHERED_BYTES

pytestmark = pytest.mark.one_process


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

    assert 72 == caught.value.code
    assert 0 == client.command("SELECT count() FROM t")


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
    assert 0 == client.command("SELECT count() FROM t")


def test_insert_whose_view_fails_is_an_error(server: LocalClickHouse, client: Client) -> None:
    """The table has the row, the view has not: the insert must fail, so that it is repeated."""
    client.command("CREATE TABLE t (i UInt8) ENGINE = MergeTree ORDER BY i")
    client.command("CREATE MATERIALIZED VIEW v ENGINE = Null AS SELECT throwIf(i = 9) FROM t")

    with pytest.raises(DatabaseError, match="while pushing to view"):
        client.raw_insert("t", insert_block=b'{"i":9}', fmt="JSONEachRow")

    assert 1 == client.command("SELECT count() FROM t")


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

    assert 40 == len(refused)
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

    assert 395 == caught.value.code


@pytest.mark.parametrize("coding", ["", "gzip", "lz4", "zstd"])
def test_a_small_answer_is_sent_whole(server: LocalClickHouse, coding: str) -> None:
    """With its length, so that a client sees a connection that breaks; empty ones too."""
    for query in (b"SELECT 7 FORMAT TSV", b"SELECT 7 WHERE 0 FORMAT TSV"):
        headers = {"Accept-Encoding": coding}
        status, body, answer_headers = ask(
            server, query, "/?enable_http_compression=1", headers=headers
        )

        assert (200, str(len(body))) == (status, answer_headers["content-length"])
        assert coding == answer_headers.get("content-encoding", "")


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

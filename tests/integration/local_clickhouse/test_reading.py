"""What clients of the embedded ClickHouse read: parameters, codings, formats."""

import pytest
from clickhouse_connect.driver.client import Client

from tests.support.embedded_clickhouse import HARD_TEXTS, ask, client_of, peak_memory_kib
from usagepipe.local import LocalClickHouse

pytestmark = pytest.mark.one_process


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_parameters_keep_every_character(client: Client, text: str) -> None:
    """Quotes, line ends, NUL and emoji are returned unchanged."""
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

    assert 4_000_000 == rows
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
    """`FORMAT` in the statement wins over `default_format`; names come once, first."""
    query = b"SELECT toUInt8(number) AS n FROM numbers(2)"
    named = ask(server, query + b" FORMAT " + answer_format.encode(), "/?default_format=XML")
    default = ask(server, query, f"/?default_format={answer_format}")

    assert (200, answer) == named[:2]
    assert (200, answer) == default[:2]
    assert named[2]["x-clickhouse-format"] == answer_format


def test_answer_without_rows_keeps_its_head(server: LocalClickHouse) -> None:
    """A format with a head has it also when there is nothing below."""
    assert (200, b'"a"\n') == ask(server, b"SELECT 1 AS a WHERE 0 FORMAT CSVWithNames")[:2]
    assert (200, b"") == ask(server, b"SELECT 1 AS a WHERE 0")[:2]


def test_statements_with_an_answer_that_are_no_select(client: Client) -> None:
    """SHOW, DESCRIBE, EXISTS and EXPLAIN answer."""
    client.command("CREATE TABLE t (i UInt32) ENGINE = Memory")

    assert [("t",)] == client.query("SHOW TABLES").result_rows
    assert ("i", "UInt32") == client.query("DESCRIBE t").result_rows[0][:2]
    assert 1 == client.command("EXISTS t")
    assert "ReadFromMemoryStorage" in str(client.query("EXPLAIN SELECT * FROM t").result_rows)

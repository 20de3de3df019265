"""Where a statement ends and an INSERT's data begin, and what format an answer has."""

import pytest

from usagepipe.local.clickhouse.statement import Statement, read_statement
from usagepipe.schemas.errors import ClickHouseError


def whole(text: str) -> Statement:
    statement = read_statement(text.encode(), complete=True)
    assert statement is not None
    return statement


@pytest.mark.parametrize(
    ("text", "sql", "data_format", "data"),
    [
        ("INSERT INTO t FORMAT JSONEachRow\n{}", "INSERT INTO t ", "JSONEachRow", "{}"),
        ("insert into t format CSV 1,2\n3", "insert into t ", "CSV", "1,2\n3"),
        ("INSERT INTO t FORMAT TSV \t\r\n\n1", "INSERT INTO t ", "TSV", "\n1"),
        ("INSERT INTO t (a, b) VALUES (1, 2)", "INSERT INTO t (a, b) ", "Values", " (1, 2)"),
        (
            "/* FORMAT x */ INSERT INTO `a FORMAT b` (`format`) -- VALUES\n FORMAT Native\nx",
            "/* FORMAT x */ INSERT INTO `a FORMAT b` (`format`) -- VALUES\n ",
            "Native",
            "x",
        ),
        (
            "INSERT INTO t SETTINGS insert_deduplication_token='a FORMAT b' FORMAT CSV\n1",
            "INSERT INTO t SETTINGS insert_deduplication_token='a FORMAT b' ",
            "CSV",
            "1",
        ),
        ("INSERT INTO FUNCTION null('a Int8') VALUES (1)", None, "Values", " (1)"),
        ("INSERT INTO t FORMAT JSONEachRow", "INSERT INTO t ", "JSONEachRow", ""),
        ("INSERT INTO t (a)", "INSERT INTO t (a)", None, ""),
    ],
)
def test_data_of_an_insert_begin_after_its_format(
    text: str, sql: str | None, data_format: str | None, data: str
) -> None:
    """Names, strings and comments that look like the clause are not taken for it."""
    statement = whole(text)

    assert "INSERT" == statement.kind
    assert sql is None or sql == statement.sql.decode()
    assert data_format == statement.format
    assert statement.data_start is not None
    assert data == text[statement.data_start :]


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t SELECT * FROM u",
        "INSERT INTO t (a) SELECT 'x FORMAT CSV' FROM u SETTINGS max_threads = 1",
        "INSERT INTO t WITH 1 AS a SELECT a",
        "INSERT INTO t (a) (SELECT 1)",
    ],
)
def test_insert_from_a_select_has_no_data(text: str) -> None:
    """INSERT … SELECT is a statement as any other."""
    statement = whole(text)

    assert statement.data_start is None
    assert text == statement.sql.decode()


@pytest.mark.parametrize(
    ("text", "kind", "answer_format"),
    [
        ("SELECT 1", "SELECT", None),
        ("select 1 format JSON", "SELECT", "JSON"),
        ("SELECT 1\n FORMAT Native", "SELECT", "Native"),
        ("SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "SELECT", "CSV"),
        ("SELECT 1 FORMAT CSV;", "SELECT", "CSV"),
        ("SELECT format FROM t", "SELECT", None),
        ("SELECT 'x FORMAT CSV'", "SELECT", None),
        ("SELECT 1 -- FORMAT CSV", "SELECT", None),
        ("(SELECT 1) UNION ALL (SELECT 2)", "SELECT", None),
        ("WITH 1 AS x SELECT x", "WITH", None),
        ("SHOW TABLES", "SHOW", None),
    ],
)
def test_answer_format_is_the_last_clause(text: str, kind: str, answer_format: str | None) -> None:
    """Only a FORMAT at the end, or before SETTINGS, names the format of the answer."""
    statement = whole(text)

    assert (kind, answer_format) == (statement.kind, statement.format)


@pytest.mark.parametrize("text", ["SELECT ';'; -- ;\n;", "SELECT $x$ ; $x$", "SELECT `;` /* ; */"])
def test_semicolons_inside_quotes_do_not_end_a_statement(text: str) -> None:
    """One statement stays one, with any strings, names and comments."""
    statement = whole(text)

    assert text == statement.sql.decode()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 62),
        (" -- nothing\n", 62),
        (";", 62),
        ("SELECT 1; SELECT 2", 62),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 48),
        ("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 48),
        ("INSERT INTO t FORMAT CSV; 1", 62),
    ],
)
def test_what_a_server_refuses_is_refused(text: str, code: int) -> None:
    """Several statements, none, and a client's own file clauses get a server's error codes."""
    with pytest.raises(ClickHouseError) as caught:
        whole(text)

    assert code == caught.value.code


def test_statement_waits_for_what_is_cut_off() -> None:
    """However an INSERT arrives, no front of it is taken for the whole."""
    text = b"INSERT INTO t (a, `VALUES`) SETTINGS x = 'FORMAT' /* VALUES */ FORMAT CSV \n1,2\n"
    expected = read_statement(text, complete=True)
    assert expected is not None
    assert expected.data_start is not None

    for cut in range(len(text)):
        early = read_statement(text[:cut], complete=False)

        assert early in {None, expected}, text[:cut]
        assert early is None or cut > expected.data_start - 1


@pytest.mark.parametrize(
    "text", ["SELECT 1", "SELECT 'a", "INSERT INTO t SELECT 1", "", "SELECT ;"]
)
def test_other_statements_wait_for_the_end_of_the_body(text: str) -> None:
    """Only an INSERT with data can be known before all of the body is there."""
    assert read_statement(text.encode(), complete=False) is None

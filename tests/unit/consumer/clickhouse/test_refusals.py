"""What an error of ClickHouse means: its own words, as 25.8 to 26.9 write them."""

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from usagepipe.consumer.clickhouse.refusals import Refusal, classify
from usagepipe.schemas.clickhouse.codes import TABLE, Kind

URL = " (for url http://127.0.0.1:8123)"
VERSION = " (version 25.8.2.29 (official build))"


def refused(code: int, text: str, name: str) -> DatabaseError:
    """The driver's exception for an answer of ClickHouse."""
    body = f"Code: {code}. DB::Exception: {text}. ({name}){VERSION}"
    reported = f"Received ClickHouse exception, code: {code}, server response: {body}{URL}"
    return DatabaseError(reported, code=code, name=name)


def bad_number(quoted: str = "abc", key: str = "prompt_tokens") -> DatabaseError:
    text = (
        f"Cannot parse input: expected '\"' before: '{quoted}\"}}': "
        f"(while reading the value of key {key}): (at row 3)\n"
        ": While executing JSONEachRowRowInputFormat"
    )
    return refused(27, text, "CANNOT_PARSE_INPUT_ASSERTION_FAILED")


def broken_constraint(table: str, behind: str = "", value: str = "'x'") -> DatabaseError:
    text = (
        f"Constraint `known_user` for table {table} (27e29a39-f02c-4b2c-96a3-cde8e4a9207f) is "
        f"violated at row 1. Expression: (user_id != 'x'). Column values: user_id = {value}{behind}"
    )
    return refused(469, text, "VIOLATED_CONSTRAINT")


def test_a_row_that_cannot_be_parsed_is_the_contents_fault() -> None:
    """T-62: the refusal has the code, its name and the column."""
    refusal = classify(bad_number())

    assert refusal == Refusal(
        Kind.CONTENT, 27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", "prompt_tokens", view=False, row=3
    )


def test_a_broken_constraint_names_itself() -> None:
    """T-62: a constraint of the raw table."""
    refusal = classify(broken_constraint("usage.usage_events"))

    assert refusal == Refusal(
        Kind.CONTENT, 469, "VIOLATED_CONSTRAINT", "known_user", view=False, row=1
    )


def test_the_raw_table_of_a_cluster_is_one_too() -> None:
    """On a cluster the raw table is `usage_events_local`, below a distributed one."""
    error = broken_constraint("`usage`.`usage_events_local`")

    assert classify(error).kind == Kind.CONTENT


@pytest.mark.parametrize(
    "error",
    [
        broken_constraint("usage.rollup_usage_1d", ": while pushing to view usage.rollup_mv"),
        broken_constraint("usage.rollup_usage_1d"),
        refused(
            407,
            "Decimal math overflow: while executing 'FUNCTION plus(a, b)': while pushing to view "
            "usage.rollup_usage_15m_mv (5a36c5a5-7bd4-4b32-ac5f-97d1b1cbb2a4)",
            "DECIMAL_OVERFLOW",
        ),
        refused(
            395,
            "Value passed to 'throwIf' function is non-zero: while executing 'FUNCTION throwIf(x)'"
            ": while pushing to view u.nested_mv: while pushing to view u.rollup_mv",
            "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
        ),
    ],
)
def test_a_failing_view_is_never_the_contents_fault(error: Exception) -> None:
    """The raw rows may have landed: to cut the batch would store them twice."""
    refusal = classify(error)

    assert refusal.kind != Kind.CONTENT
    assert refusal.view
    assert "" == refusal.column


def test_a_parse_error_that_blames_no_row_is_not_the_contents_fault() -> None:
    """A setting's value and a view's cast fail with the codes of bad rows."""
    error = refused(6, "Cannot parse string 'boom' as UInt64: syntax error", "CANNOT_PARSE_TEXT")

    assert classify(error).kind == Kind.SERVER


@pytest.mark.parametrize(
    "quoted",
    [
        ": while pushing to view a.b",
        "': while pushing to view a.b. (NOT_ENOUGH_SPACE) (version 1)",
        "DB::Exception: Constraint `secret` for table a.b is violated at row 1",
        "(while reading the value of key my_secret): (at row 1)",
    ],
)
def test_a_rows_text_decides_nothing(quoted: str) -> None:
    """ClickHouse's words inside an event neither hide it nor are quoted."""
    assert classify(bad_number(quoted)) == classify(bad_number())
    assert "" == classify(bad_number(quoted, key="my_secret")).column


def test_a_value_in_a_constraints_error_decides_nothing() -> None:
    """The values that broke it are quoted at the end of its text."""
    error = broken_constraint("u.usage_events", value="': while pushing to view a.b\\''")

    assert classify(error) == classify(broken_constraint("u.usage_events"))


@pytest.mark.parametrize(
    ("code", "name", "kind"),
    [
        (241, "MEMORY_LIMIT_EXCEEDED", Kind.SERVER),
        (243, "NOT_ENOUGH_SPACE", Kind.SERVER),
        (252, "TOO_MANY_PARTS", Kind.SERVER),
        (242, "TABLE_IS_READ_ONLY", Kind.SERVER),
        (999, "KEEPER_EXCEPTION", Kind.SERVER),
        (60, "UNKNOWN_TABLE", Kind.OPERATOR),
        (164, "READONLY", Kind.OPERATOR),
        (516, "AUTHENTICATION_FAILED", Kind.OPERATOR),
        (201, "QUOTA_EXCEEDED", Kind.OPERATOR),
    ],
)
def test_trouble_of_the_server_differs_from_what_needs_an_operator(
    code: int, name: str, kind: Kind
) -> None:
    """Both are tried again; the one passes by itself."""
    refusal = classify(refused(code, "Something", name))

    assert refusal == Refusal(kind, code, name, "", view=False)


def test_an_unknown_code_is_tried_again_and_named() -> None:
    """A later server may have codes that nobody here has seen: trying again loses nothing."""
    refusal = classify(refused(4711, "Something (NEW)", "BRAND_NEW_ERROR"))

    assert refusal == Refusal(Kind.SERVER, 4711, "BRAND_NEW_ERROR", "", view=False)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("Error HTTPConnectionPool(host='a', port=1): Read timed out."),
        DatabaseError("HTTP driver received HTTP status 502, server response: Bad Gateway"),
        ConnectionResetError("reset"),
        TimeoutError(),
    ],
)
def test_no_code_is_the_servers_trouble(error: Exception) -> None:
    """No connection, no answer in time, a proxy's own answer."""
    assert classify(error) == Refusal(Kind.SERVER, None, "", "", view=False)


def test_every_code_has_a_reason_and_one_place() -> None:
    """A code stands in one part of the table only."""
    assert len({known.name for known in TABLE.values()}) == len(TABLE)
    assert all(known.why for known in TABLE.values())

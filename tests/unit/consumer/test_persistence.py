"""What a failed attempt to store says in the log."""

import pytest

from usagepipe.consumer.persistence import brief


class DatabaseError(Exception):
    """As clickhouse-connect has it: the code stands in the text only."""


REFUSED = """Received ClickHouse exception, code: 27, server response: Code: 27. DB::Exception: \
Cannot parse input: expected '"' before: ',678Z","user_id":"ada@example.org"}': (at row 1): While \
executing JSONEachRowRowInputFormat. (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 26.9.2.1)"""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DatabaseError(REFUSED), "DatabaseError: code 27 CANNOT_PARSE_INPUT_ASSERTION_FAILED"),
        (DatabaseError("Code: 60. DB::Exception: cut"), "DatabaseError: code 60"),
        (ConnectionError("away\nfor long"), "ConnectionError: away"),
    ],
)
def test_an_error_is_told_in_a_line_without_what_it_quotes(error: Exception, told: str) -> None:
    """ClickHouse quotes the rows it refuses: ids and tags of users have no place in a log."""
    assert told == brief(error)

"""What commands and the worker say about an error of ClickHouse, and their exit status."""

import pytest

from usagepipe.schemas.clickhouse.client import as_usagepipe_error
from usagepipe.schemas.errors import AccessError

PLACE = "http://clickhouse:8123/usagepipe"


class DatabaseError(Exception):
    """Like that of clickhouse-connect: the code is in the text only."""


def of_driver(code: int, text: str) -> DatabaseError:
    return DatabaseError(
        f"Received ClickHouse exception, code: {code}, server response: Code: {code}. "
        f"DB::Exception: {text} (for url http://clickhouse:8123)"
    )


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        (
            497,
            "u: Not enough privileges. It's necessary to have the grant INSERT(a, b) ON d.t. "
            "(ACCESS_DENIED)",
            "lacks the right INSERT: GRANT it (code 497 ACCESS_DENIED)",
        ),
        (497, "no (ACCESS_DENIED)", "lacks a right: GRANT it"),
        (720, "no (USER_EXPIRED)", "extend VALID UNTIL"),
        (195, "no (IP_ADDRESS_NOT_ALLOWED)", "may not log in from this host"),
        (516, "no (AUTHENTICATION_FAILED)", "refuses the user or the password"),
        (192, "no (UNKNOWN_USER)", "refuses the user or the password"),
    ],
)
def test_a_refused_login_or_right_names_the_cure(code: int, text: str, words: str) -> None:
    """All have one exit status, and no text of the driver."""
    meaning = as_usagepipe_error(of_driver(code, text), PLACE)

    assert isinstance(meaning, AccessError)
    assert 3 == meaning.exit_status
    assert words in str(meaning)
    assert PLACE in str(meaning)
    assert "Exception" not in str(meaning)


def test_another_refusal_is_quoted_without_the_drivers_words() -> None:
    """The server's message alone says what is wrong."""
    meaning = as_usagepipe_error(of_driver(158, "Limit exceeded. (TOO_MANY_ROWS)"), PLACE)

    assert (
        f"ClickHouse at {PLACE} refused: "
        "Code: 158. DB::Exception: Limit exceeded. (TOO_MANY_ROWS)" == str(meaning)
    )

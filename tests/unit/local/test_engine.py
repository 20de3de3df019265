"""Text inside SQL: what a client sends never leaves its quotes."""

import pytest

from usagepipe.local.clickhouse.engine import quote


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("plain", "'plain'"),
        ("it's", "'it\\'s'"),
        ("\\", "'\\\\'"),
        ("a\0b", "'a\\0b'"),
        ("', readonly = 0 --", "'\\', readonly = 0 --'"),
    ],
)
def test_value_stays_inside_its_quotes(value: str, literal: str) -> None:
    """Quotes, backslashes and NUL are escaped."""
    assert literal == quote(value)


def test_name_is_quoted_by_its_own_mark() -> None:
    """A database's name may hold a quote."""
    assert "`a\\`b'c`" == quote("a`b'c", "`")

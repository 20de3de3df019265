"""The filters of a query."""

import re
from typing import cast

import pytest

from usagepipe.query.questions import FILTER_NAMES, Filters, filter_parameters
from usagepipe.query.statements import statement
from usagepipe.schemas.errors import WrongUseError


def test_a_filter_that_is_not_given_is_any() -> None:
    """An empty text selects the events without a value."""
    parameters = filter_parameters({"user_id": "u-1", "api_key_id": ""})

    assert set(FILTER_NAMES) == set(parameters)
    assert {"user_id": "u-1", "api_key_id": ""} == {
        name: value for name, value in parameters.items() if value is not None
    }


def test_an_unknown_filter_is_refused() -> None:
    """A misspelt filter must not widen the answer silently."""
    with pytest.raises(WrongUseError, match="no filter 'user'"):
        filter_parameters(cast(Filters, {"user": "u-1"}))


def test_every_filter_is_in_the_sql() -> None:
    """Each filter narrows each of the three tables that a range is read from."""
    named = re.findall(r"\{(\w+):Nullable\(String\)\} IS NULL", statement("totals"))

    assert {name: 3 for name in FILTER_NAMES} == {name: named.count(name) for name in named}

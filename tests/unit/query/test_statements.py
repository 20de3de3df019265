"""The SQL as it is sent. Run with `UPDATE_GOLDEN=1` to rewrite the golden files."""

import os
from pathlib import Path

import pytest

from usagepipe.query.statements import DIMENSIONS, SORTS, grouped_statement, statement
from usagepipe.schemas.errors import WrongUseError

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, dict[str, str]] = {
    "totals": {},
    "buckets": {"width": "day"},
    "buckets_by": {"width": "hour", "dimension": "model"},
    "by_dimension": {"dimension": "source", "order": "tokens"},
    "by_key": {"order": "cost"},
    "by_user_source": {"order": "requests"},
    "names": {},
    "daily_usage": {},
    "unpriced": {},
    "export_hours": {},
    "export_events": {},
    "event_rows": {},
    "event_parts": {},
}


@pytest.mark.parametrize("name", CASES)
def test_the_sql_is_the_golden_one(name: str) -> None:
    """A statement of fragments is indented like a hand-written one."""
    golden = GOLDEN / f"{name}.sql"
    sql = statement(name, **CASES[name]) + "\n"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(sql)

    assert golden.read_text() == sql


def test_the_grouped_sql_is_the_golden_one() -> None:
    """By several dimensions and over time, in one statement."""
    golden = GOLDEN / "grouped.sql"
    sql = grouped_statement(("api_key_id", "model"), "day", "time", without_key=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(sql)

    assert golden.read_text() == sql


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_is_certain(sort: str) -> None:
    """The keys of a row come last, so that equal measures always have one order."""
    sql = grouped_statement(("api_key_id", "model"), "day", sort, without_key=False)

    order = sql.partition("ORDER BY\n")[2].partition("\nLIMIT")[0].split(",\n")
    names = [line.strip() for line in order]
    assert {"start", "api_key_id", "model"} <= set(names)
    assert len(names) == len(set(names))


def test_every_query_has_a_golden_file() -> None:
    """Every query has a golden file."""
    assert {*CASES, "grouped"} == {path.stem for path in GOLDEN.glob("*.sql")}


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_dimension_stands_in_the_sql_as_it_is(dimension: str) -> None:
    """Each listed dimension gives a statement grouped by it."""
    assert f"GROUP BY {dimension}" in statement("by_dimension", dimension=dimension)


@pytest.mark.parametrize("words", [{"dimension": "1; DROP TABLE x"}, {"width": "year"}])
def test_a_word_that_is_not_listed_never_reaches_the_sql(words: dict[str, str]) -> None:
    """The text gets only listed words; any other word is refused."""
    with pytest.raises(WrongUseError, match="it is one of"):
        statement("buckets_by", **{"dimension": "model", "width": "day"} | words)

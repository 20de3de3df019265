"""The SQL of an audit, filled with its words. `UPDATE_GOLDEN=1` writes the golden files again."""

from pathlib import Path

import pytest

from tests.support.golden import golden
from usagepipe.consumer.maintenance.audit_queries import SHARE, first_number
from usagepipe.schemas.clickhouse.sql_files import fill, read_sql

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "count_extra_rows": {"share": SHARE},
    "events_stored_twice": {"share": SHARE},
    "producers_with_gaps": first_number(from_one=False),
    "sequence_spans": first_number(from_one=True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_sql_is_the_golden_one(name: str) -> None:
    """A statement with words in it reads as if it was written in one go."""
    sql = fill(read_sql("usagepipe.consumer.maintenance", name), CASES[name]) + "\n"

    assert golden(GOLDEN / f"{name}.sql", sql) == sql

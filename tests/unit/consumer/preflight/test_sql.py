"""The SQL of the preflight, filled with its words. `UPDATE_GOLDEN=1` writes the files again."""

from pathlib import Path

import pytest

from tests.support.golden import golden
from usagepipe.schemas.clickhouse.sql_files import fill, read_fragment, read_sql

PACKAGE = "usagepipe.consumer.preflight"
GOLDEN = Path(__file__).parent / "golden"
WINDOWS = fill(read_fragment(PACKAGE, "scratch_windows"), {"blocks": "1000"})
TABLE = {"name": "usagepipe_preflight_1_a", "replicated": "Replicated", "windows": WINDOWS}
VIEW = {"name": "a_into_b", "source": "a", "target": "b", "requests": "count()"}
CASES = {
    "scratch_raw_table": TABLE,
    "scratch_rollup_table": TABLE,
    "scratch_view": VIEW,
    "default_windows": {"kind": "replicated_"},
}


@pytest.mark.parametrize("name", CASES)
def test_the_sql_is_the_golden_one(name: str) -> None:
    """A statement with words in it reads as if it was written in one go."""
    sql = fill(read_sql(PACKAGE, name), CASES[name]) + "\n"

    assert golden(GOLDEN / f"{name}.sql", sql) == sql


@pytest.mark.parametrize("name", ["scratch_leftovers", "table_names", "tables"])
def test_other_statements_have_bound_parameters_only(name: str) -> None:
    """They are sent as they are in their files, which begin with their purpose."""
    text = read_sql(PACKAGE, name)

    assert text.startswith("-- ")
    assert "${" not in text

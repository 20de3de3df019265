"""The SQL of the look-ups as it is sent. `UPDATE_GOLDEN=1` writes the golden files again."""

from pathlib import Path

import pytest

from tests.support.golden import golden
from usagepipe.consumer.clickhouse.stored import events_query
from usagepipe.schemas.clickhouse.sql_files import read_sql

PACKAGE = "usagepipe.consumer.clickhouse"
GOLDEN = Path(__file__).parent / "golden"
IDS = ("018f8d2e-0000-7000-8000-000000000001", "018f8d2e-ffff-7000-8000-000000000002")


def test_the_look_up_of_events_is_the_golden_one() -> None:
    """Its conditions are made from the ids, so the whole text is compared."""
    text = events_query(IDS, 7).replace(" OR ", "\nOR ") + "\n"

    assert golden(GOLDEN / "events_with_ids.sql", text) == text


@pytest.mark.parametrize("name", ["last_offset", "places", "server_started"])
def test_other_look_ups_have_bound_parameters_only(name: str) -> None:
    """They are sent as they are in their files, which begin with their purpose."""
    text = read_sql(PACKAGE, name)

    assert text.startswith("-- ")
    assert "${" not in text

"""A range is read in stretches of whole hours, each of which is sorted by itself."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from usagepipe.query import TimeRange
from usagepipe.query.event_export import STRETCH_ROWS, stretches
from usagepipe.query.statements import statement
from usagepipe.schemas import UsageEvent

START = datetime(2026, 3, 1, 0, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
SPAN = TimeRange(START, START + 50 * HOUR)
FIRST_HOUR = START.replace(minute=0)
COUNTED = st.dictionaries(st.integers(0, 50), st.integers(1, 2 * STRETCH_ROWS))


@given(COUNTED)
def test_stretches_have_all_rows_once_and_no_more_than_they_may(hours: dict[int, int]) -> None:
    """They follow each other; only a single hour with more rows exceeds the limit."""
    counted = [(FIRST_HOUR + hour * HOUR, rows) for hour, rows in sorted(hours.items())]

    found = list(stretches(SPAN, counted))

    assert sum(hours.values()) == sum(each.rows for each in found)
    assert [each.span.end for each in found[:-1]] == [each.span.start for each in found[1:]]
    for each in found:
        held = [n for hour, n in counted if each.span.start < hour + HOUR and hour < each.span.end]
        assert sum(held) == each.rows
        assert each.rows <= STRETCH_ROWS or 1 == len(held)
        assert SPAN.start <= each.span.start < each.span.end <= SPAN.end


def test_an_empty_range_has_no_stretch() -> None:
    """No query is sent for hours without events."""
    assert [] == list(stretches(SPAN, []))


def test_every_field_of_an_event_is_exported() -> None:
    """The query reads every field of the event, also a new one."""
    _, columns = statement("export_events").partition("FROM")[0].split("SELECT")

    assert list(UsageEvent.model_fields) == columns.replace(",", " ").split()

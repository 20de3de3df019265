"""A range is cut so that every instant of it is read from exactly one table."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from usagepipe.query import TimeRange
from usagepipe.query.slices import DAY_SECONDS, QUARTER_SECONDS, Slices, slice_range

START = datetime(2026, 3, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 4 * DAY_SECONDS * 1000).map(lambda ms: START + timedelta(milliseconds=ms))
BORDERS = st.integers(0, 4 * 96).map(lambda quarter: START + quarter * timedelta(minutes=15))


@st.composite
def ranges(draw: st.DrawFn) -> TimeRange:
    start, end = sorted([draw(MOMENTS | BORDERS), draw(MOMENTS | BORDERS)])
    return TimeRange(start, end if end > start else start + timedelta(milliseconds=1))


def read_from(slices: Slices, moment: datetime) -> list[str]:
    """The tables that a row of this moment is read from, by the conditions of `slices.sql`."""
    seconds = round(moment.timestamp() * 1000) / 1000
    quarter = seconds // QUARTER_SECONDS * QUARTER_SECONDS
    day = seconds // DAY_SECONDS * DAY_SECONDS
    found = []
    if slices.days_from <= day < slices.days_to:
        found.append("days")
    if slices.quarters_from <= quarter < slices.quarters_to and not (
        slices.days_from <= quarter < slices.days_to
    ):
        found.append("quarters")
    if slices.from_ms <= seconds * 1000 < slices.to_ms and not (
        slices.quarters_from <= seconds < slices.quarters_to
    ):
        found.append("raw")
    return found


@given(span=ranges(), moment=MOMENTS | BORDERS, use_days=st.booleans())
def test_every_instant_is_read_once_inside_and_never_outside(
    span: TimeRange, moment: datetime, use_days: bool
) -> None:
    """An instant of the range is in one slice; the end and other instants are in none."""
    tables = read_from(slice_range(span, use_days=use_days), moment)

    assert (1 if span.start <= moment < span.end else 0) == len(tables)


@given(span=ranges())
def test_days_are_left_out_when_they_are_too_coarse(span: TimeRange) -> None:
    """Hours, and days of other time zones, are never read from rows of whole UTC days."""
    slices = slice_range(span, use_days=False)

    assert slices.days_from == slices.days_to


def test_a_range_of_days_and_more_is_read_from_the_coarsest_tables() -> None:
    """Whole days come from days, whole quarters around them from quarters, the rest from raw."""
    span = TimeRange(
        datetime(2026, 3, 1, 22, 20, 0, 1000, tzinfo=UTC), datetime(2026, 3, 4, 1, 7, tzinfo=UTC)
    )

    slices = slice_range(span, use_days=True)

    assert [
        "2026-03-01T22:20:00.001000+00:00",
        "2026-03-01T22:30:00+00:00",
        "2026-03-02T00:00:00+00:00",
        "2026-03-04T00:00:00+00:00",
        "2026-03-04T01:00:00+00:00",
        "2026-03-04T01:07:00+00:00",
    ] == [
        datetime.fromtimestamp(seconds, UTC).isoformat()
        for seconds in (
            slices.from_ms / 1000,
            slices.quarters_from,
            slices.days_from,
            slices.days_to,
            slices.quarters_to,
            slices.to_ms / 1000,
        )
    ]


def test_moments_that_no_event_has_are_cut_off() -> None:
    """The years 1 and 9999 mean the first and the last time of an event."""
    ever = TimeRange(datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))

    slices = slice_range(ever, use_days=True)

    assert (946_684_800, 4_102_444_800) == (slices.days_from, slices.days_to)

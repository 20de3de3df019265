"""Cuts a range into slices that each table answers exactly: days, quarters of an hour, raw rows.

The borders are nested: `from ≤ quarters_from ≤ days_from ≤ days_to ≤ quarters_to ≤ to`. Each slice
is read from the coarsest table whose buckets it does not cut. If no whole bucket fits, a table's
two borders meet at or after the end, and the finer table reads everything.
"""

from dataclasses import dataclass

from usagepipe.query.periods import TimeRange

QUARTER_SECONDS = 15 * 60
DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Slices:
    """The borders: the range's own in milliseconds, those of the rollups in seconds since 1970.

    The fields are the parameters of `sql/slices.sql`.
    """

    from_ms: int
    quarters_from: int
    days_from: int
    days_to: int
    quarters_to: int
    to_ms: int


def slice_range(span: TimeRange, *, use_days: bool) -> Slices:
    """The slices of `span`. Without `use_days` the day rollup is left out: its rows would be too
    coarse for buckets of hours, or for days of another time zone than UTC."""
    from_ms, to_ms = span.milliseconds
    quarters = _whole(from_ms, to_ms, QUARTER_SECONDS * 1000)
    days = _whole(*quarters, DAY_SECONDS * 1000) if use_days else (quarters[1], quarters[1])
    return Slices(
        from_ms=from_ms,
        quarters_from=quarters[0] // 1000,
        days_from=days[0] // 1000,
        days_to=days[1] // 1000,
        quarters_to=quarters[1] // 1000,
        to_ms=to_ms,
    )


def _whole(start: int, end: int, width: int) -> tuple[int, int]:
    """The whole buckets inside `[start, end)`; none: an empty range at or after `end`."""
    first = -(-start // width) * width
    last = end // width * width
    return (first, last) if first <= last else (first, first)

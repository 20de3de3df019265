"""The numbers to reach, and how each is read out of the results.

Ratios are of medians of one run. Absolute rates are for orientation: they are the machine's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

Results = Mapping[str, Any]
Measured = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class Bar:
    """A number to reach: at least `limit`, or at most. Without a limit it is reported only."""

    what: str
    wanted: str
    measured: Measured
    limit: float | None
    at_most: bool = False
    unit: str = ""
    form: str = ".2f"

    def reached(self, value: float) -> bool | None:
        """Whether `value` is good enough; None where nothing is asked for."""
        if self.limit is None:
            return None
        return value <= self.limit if self.at_most else value >= self.limit


def _rate(results: Results, name: str) -> float | None:
    runs = results["drains"].get(name)
    return float(median(run["rate"] for run in runs)) if runs else None


def _against(name: str) -> Measured:
    def ratio(results: Results) -> float | None:
        worker, other = _rate(results, "worker"), _rate(results, name)
        return worker / other if worker and other else None

    return ratio


def _without(name: str) -> Measured:
    """The median of the pairs: both of a pair ran one after the other."""

    def ratio(results: Results) -> float | None:
        with_, without = (results["drains"].get(each) for each in ("worker", name))
        if not with_ or not without:
            return None
        return float(median(a["rate"] / b["rate"] for a, b in zip(with_, without, strict=True)))

    return ratio


def _drained(field: str, pick: Callable[[list[float]], float]) -> Measured:
    def value(results: Results) -> float | None:
        runs = results["drains"].get("worker")
        return pick([run[field] for run in runs]) if runs else None

    return value


def _measure(name: str, field: str) -> Measured:
    def value(results: Results) -> float | None:
        found = results["measures"].get(name)
        return float(found[field]) if found else None

    return value


def _added(what: str, field: str, limit: float | None = None, form: str = ".1f") -> Bar:
    """A row of the measure `requests`, in microseconds."""
    wanted = "reported" if limit is None else f"≤ {limit:g} µs"
    measured = _measure("requests", field)
    return Bar(what, wanted, measured, limit, at_most=True, unit=" µs", form=form)


BARS: Final = (
    Bar("against two bare loops (b)", "≥ 1.1", _against("bare-2"), 1.1),
    Bar("against sentry-arroyo (d)", "≥ 1.8", _against("arroyo"), 1.8),
    Bar("against quixstreams (d)", "≥ 1.8", _against("quixstreams"), 1.8),
    Bar("against stock Faust (c)", "≥ 10", _against("faust"), 10),
    Bar("against the insert alone (e)", "≥ 0.85", _against("insert"), 0.85),
    Bar(
        "client time per event, everything on",
        "≤ 5 µs",
        _drained("client_us", median),
        5,
        at_most=True,
        unit=" µs",
    ),
    Bar(
        "of it `encode_rows` alone",
        "a part of 5 µs",
        _measure("encoding", "us"),
        5,
        at_most=True,
        unit=" µs",
    ),
    Bar(
        "pricing one event, its cost as text included",
        "≤ 0.8 µs",
        _measure("pricing", "us"),
        0.8,
        at_most=True,
        unit=" µs",
    ),
    Bar(
        "prices without an exact explanation, of 100,000 random events",
        "0",
        _measure("pricing", "wrong"),
        0,
        at_most=True,
        form=".0f",
    ),
    Bar(
        "events/s with the servers on the same cores",
        "≥ 100,000",
        _drained("rate", median),
        100_000,
        form=",.0f",
    ),
    Bar(
        "with announce, fence and verification, against without",
        "≥ 0.95",
        _without("unguarded"),
        0.95,
    ),
    Bar("with prices of 60 models, against without", "≥ 0.93", _without("without-prices"), 0.93),
    Bar(
        "`record()` against a bare `produce()` of the same bytes",
        "≤ 3 times",
        _measure("recording", "ratio"),
        3,
        at_most=True,
        unit=" times",
    ),
    Bar(
        "`record()` to queryable, p50",
        "< 400 ms",
        _measure("latency", "p50_ms"),
        400,
        at_most=True,
        unit=" ms",
        form=".0f",
    ),
    Bar(
        "`record()` to queryable, p99",
        "< 1,200 ms",
        _measure("latency", "p99_ms"),
        1_200,
        at_most=True,
        unit=" ms",
        form=".0f",
    ),
    Bar(
        "memory of a worker under the backlog",
        "< 400 MiB",
        _drained("peak_mebibytes", max),
        400,
        at_most=True,
        unit=" MiB",
        form=".0f",
    ),
    Bar(
        "recovery after `kill -9`, to the first new row",
        "< 10 s",
        _measure("recovery", "first_new_row_seconds"),
        10,
        at_most=True,
        unit=" s",
        form=".1f",
    ),
    _added("added to a JSON request, median", "json_us", 60),
    _added("the same, p99", "json_p99_us", 300, form=".0f"),
    _added("the same, p99.9", "json_p999_us", form=".0f"),
    _added("of it, by a middleware that does nothing, median", "json_nothing_us"),
    _added("beside it, by the recorder's threads, mean", "json_beside_us"),
    _added("added to a JSON request after a pause of 1 ms, median", "paced_json_us"),
    _added("the same, p99", "paced_json_p99_us", form=".0f"),
    _added("beside it, by the recorder's threads, mean", "paced_json_beside_us"),
    _added("added before the first byte of a stream, median", "sse_10_first_byte_us"),
    _added("added to each chunk of 10, median", "sse_10_chunk_us", 5),
    _added("added to each chunk of 2,000, median", "sse_2000_chunk_us", 5),
    _added("of it, by a middleware that does nothing, median", "sse_2000_nothing_chunk_us"),
    Bar(
        "memory added by a stream of 100 MB",
        "< 1 MiB",
        _measure("requests", "stream_mebibytes"),
        1,
        at_most=True,
        unit=" MiB",
    ),
    Bar(
        "reading usage alone, of each chunk of 10, median",
        "a part of 5 µs",
        _measure("extraction", "sse_10_us"),
        5,
        at_most=True,
        unit=" µs",
    ),
    Bar(
        "the same of 2,000 chunks",
        "a part of 5 µs",
        _measure("extraction", "sse_2000_us"),
        5,
        at_most=True,
        unit=" µs",
    ),
    Bar(
        "reading usage of a JSON answer, median",
        "a part of 60 µs",
        _measure("extraction", "json_us"),
        60,
        at_most=True,
        unit=" µs",
        form=".1f",
    ),
    Bar(
        "memory that reading usage adds to a stream of 100 MB",
        "< 1 MiB",
        _measure("extraction", "stream_mebibytes"),
        1,
        at_most=True,
        unit=" MiB",
    ),
    Bar(
        "memory that reading usage adds to one text of 100 MB",
        "< 1 MiB",
        _measure("extraction", "string_mebibytes"),
        1,
        at_most=True,
        unit=" MiB",
    ),
)

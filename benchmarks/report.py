"""Tells results as Markdown, between two marks of the page that explains them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.bars import BARS
from benchmarks.contestants import CONTESTANTS

START: Final = "<!-- results: written by `make bench` from benchmarks/results.json -->\n"
END: Final = "<!-- end of results -->\n"
HEAD: Final = (
    "contestant",
    "events/s, median (all)",
    "the worker is",
    "wall s",
    "client µs",
    "ClickHouse µs",
    "Kafka µs",
    "peak MiB",
    "every event once",
)

Results = Mapping[str, Any]


def write_page(page: Path, results: Results) -> None:
    """Put the tables of `results` between the marks of the page."""
    before, start, rest = page.read_text().partition(START)
    _, end, after = rest.partition(END)
    assert start, f"{page} has no {START!r}"
    assert end, f"{page} has no {END!r}"
    page.write_text(f"{before}{START}{render(results)}{END}{after}")


def render(results: Results) -> str:
    """The tables: what was reached, the contestants, the facts."""
    return "\n".join(
        [
            "### Bars\n",
            *_table(("what", "measured", "bar", "reached"), _bars(results)),
            "\n### Contestants\n",
            *_table(HEAD, _contestants(results)),
            "\n### Facts\n",
            *_table(("fact", "value"), _facts(results["facts"])),
            "",
        ]
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    names = list(head)
    return [_line(names), _line("---" for _ in names), *(_line(row) for row in rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _bars(results: Results) -> Iterable[tuple[str, ...]]:
    for bar in BARS:
        value = bar.measured(results)
        if value is None:
            yield bar.what, "not measured", bar.wanted, ""
        else:
            yield bar.what, f"{value:{bar.form}}{bar.unit}", bar.wanted, _yes(bar.reached(value))


def _contestants(results: Results) -> Iterable[tuple[str, ...]]:
    drains = results["drains"]
    worker = (
        median(drain["rate"] for drain in drains.get("worker", [])) if "worker" in drains else 0
    )
    for name, runs in drains.items():

        def middle(field: str, runs: list[dict[str, Any]] = runs) -> float:
            return float(median(run[field] for run in runs))

        rates = " ".join(f"{run['rate']:,.0f}" for run in runs)
        yield (
            CONTESTANTS[name].title,
            f"**{middle('rate'):,.0f}** ({rates})",
            f"{worker / middle('rate'):.2f} times",
            f"{middle('wall_seconds'):.1f}",
            f"{middle('client_us'):.1f}",
            f"{middle('clickhouse_us'):.1f}",
            f"{middle('kafka_us'):.1f}",
            f"{max(run['peak_mebibytes'] for run in runs):,.0f}",
            _yes(all(run["exact"] for run in runs)),
        )


def _facts(facts: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{key} {version}" for key, version in value.items())
        else:
            text = f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)
        yield name.replace("_", " "), text


def _yes(holds: bool | None) -> str:
    return {True: "yes", False: "**no**", None: ""}[holds]

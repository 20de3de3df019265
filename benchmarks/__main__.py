"""`python -m benchmarks`: measure, write the results as JSON, put their tables into the docs."""

import argparse
import json
import logging
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from benchmarks.contestants import CONTESTANTS
from benchmarks.drain import drain, start_cost
from benchmarks.facts import facts
from benchmarks.measures import MEASURES, USUAL
from benchmarks.peers import PEERS, python_of
from benchmarks.places import default_folder
from benchmarks.report import write_page
from benchmarks.world import ROOT, Plan, World, world


def main() -> int:
    """Run as the arguments say. The status is 1 when an event was lost or stored twice."""
    plan, place, results_path, page = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for peer in PEERS.keys() & set(plan.contestants):
        python_of(peer)
    with tempfile.TemporaryDirectory(prefix="usagepipe-bench-", dir=place) as folder:
        _say(f"starting Kafka and ClickHouse, writing {plan.events:,} events")
        with world(Path(folder), plan) as servers:
            results = _measure(servers, plan)
    results_path.write_text(json.dumps(results, indent=1) + "\n")
    if page:
        write_page(page, results)
    return 0 if all(run["exact"] for runs in results["drains"].values() for run in runs) else 1


def _measure(servers: World, plan: Plan) -> dict[str, Any]:
    """Everything the plan asks for; contestants take turns, so that a slow minute meets all."""
    measures = {name: MEASURES[name](servers, plan) for name in plan.measures}
    for name, found in measures.items():
        _say(f"{name}: {found}")
    starts = {name: start_cost(servers, name, plan.start_seconds) for name in plan.contestants}
    drains: dict[str, list[dict[str, Any]]] = {name: [] for name in plan.contestants}
    for number in range(plan.rounds):
        for name in plan.contestants:
            run = drain(servers, name, plan.events, starts[name])
            drains[name].append(asdict(run) | {"exact": run.exact})
            words = "" if run.exact else f"  NOT EXACT: {run}"
            _say(f"round {number + 1}: {name}: {run.rate:,.0f} events/s{words}")
    return {"facts": facts(servers, plan), "measures": measures, "drains": drains}


def _arguments() -> tuple[Plan, Path, Path, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pareto-shape", type=float, default=1.2, help="skew of the keys")
    parser.add_argument("--start-seconds", type=float, default=8, help="given to start; 0: no look")
    parser.add_argument("--contestants", nargs="*", choices=CONTESTANTS, default=[*CONTESTANTS])
    parser.add_argument("--measures", nargs="*", choices=MEASURES, default=[*USUAL])
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="where the servers keep their data"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results.json")
    parser.add_argument("--page", type=Path, help="the page whose tables are written again")
    given = parser.parse_args()
    plan = Plan(
        given.events,
        given.rounds,
        given.seed,
        given.pareto_shape,
        given.start_seconds,
        tuple(given.contestants),
        tuple(given.measures),
    )
    return plan, given.folder, given.results, given.page


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())

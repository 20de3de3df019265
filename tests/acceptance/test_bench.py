"""The benchmarks run: their numbers are the machine's, but every event must be there once."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.report import END, START, render
from tests.support.apache_kafka import ApacheKafka
from tests.support.installs import ROOT
from tests.support.servers import NoServerError, skip_or_fail

PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results.json"


def test_the_benchmarks_run(tmp_path: Path) -> None:
    """A small run drains every event once and writes its results and their tables."""
    try:
        ApacheKafka(tmp_path / "kafka")  # not started
    except NoServerError as error:
        skip_or_fail("Kafka of the benchmarks", "PATH (Java 17 and Maven)", error)
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    page.write_text(f"before\n{START}{END}after\n")
    contestants, measures = ("worker", "bare-1", "insert"), ("encoding", "recording", "requests")
    measured = ["--contestants", *contestants, "--measures", *measures]

    ended = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--events", "2000", "--rounds", "1"),
            *("--start-seconds", "0", "--results", str(results), "--page", str(page), *measured),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert 0 == ended.returncode, ended.stderr
    drains = json.loads(results.read_text())["drains"]
    assert {"worker": [2000], "bare-1": [2000], "insert": [2000]} == {
        name: [run["rows"] for run in runs] for name, runs in drains.items()
    }
    assert render(json.loads(results.read_text())) in page.read_text()


def test_the_page_shows_the_results() -> None:
    """The tables of the docs show the results in the folder of the benchmarks."""
    shown = PAGE.read_text().partition(START)[2].partition(END)[0]

    assert render(json.loads(RESULTS.read_text())) == shown

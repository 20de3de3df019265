"""Events go from one installation to another by the commands that a user runs, and every sum with
them."""

import json
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.clickhouse_server import in_database, url_of
from tests.support.exports import export_file
from tests.support.programs import BIN, Program, Programs, as_environment, clean_environment
from tests.support.running_worker import start_worker, wait_until_committed
from tests.support.stored_prices import MODEL, house_book
from tests.support.topics import make_topics
from tests.support.waiting import eventually
from tests.support.worker import end_offsets
from usagepipe.producer import UsageRecorder
from usagepipe.schemas import Settings, UsageEvent
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.clickhouse.price_books import apply_book

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAIRS = 150
SECONDS = 120


@dataclass(frozen=True)
class Installation:
    """A topic, a group and tables, and the commands with their settings."""

    settings: Settings
    run_program: Programs

    def work(self) -> None:
        """A worker stores all that is on the topic."""
        worker = start_worker(self.run_program, self.settings)
        wait_until_committed(self.settings, worker)
        assert 0 == worker.stop()

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command to its end: status, output and errors."""
        program = self.run_program(*arguments, environment=as_environment(self.settings))
        return program.wait(SECONDS), program.stdout, program.stderr

    def usage(self) -> dict[str, Any]:
        """All sums that `usagepipe usage` prints."""
        by = (
            word for name in ("source", "key", "user", "model", "time") for word in ("--by", name)
        )
        status, out, err = self.run("usage", "--json", "--period", "all", *by)
        assert 0 == status, err
        answer: dict[str, Any] = json.loads(out)
        return answer


@pytest.fixture
def installations(
    kafka: str, clickhouse: str, run_program: Programs
) -> Iterator[tuple[Installation, Installation]]:
    """Two that share nothing but the servers."""
    made = []
    for _ in range(2):
        name = f"test_{uuid.uuid4().hex}"
        address = in_database(clickhouse, name)
        settings = Settings.load(
            kafka=kafka, topic=f"{name}.v1", group=name, clickhouse=url_of(address)
        )
        make_topics(kafka, settings.topic, 4)
        migrate(settings)
        made.append(Installation(settings, run_program))
    yield made[0], made[1]
    for each in made:
        with connect(each.settings.clickhouse_address) as client:
            client.command(f"DROP DATABASE {each.settings.group} SYNC")


def twins(number: int) -> list[UsageEvent]:
    """Two requests that differ in nothing but the event's id."""
    fields: dict[str, Any] = {
        "occurred_at": NOON + timedelta(minutes=7 * number),
        "user_id": f"u-{number % 7}",
        "user_name": f"Ann {number % 7}",
        "api_key_id": f"k-{number % 5}" if number % 3 else "",
        "source": "apikey" if number % 3 else "web",
        "model": f"m-{number % 2}",
        "prompt_tokens": number,
        "completion_tokens": 1,
        "total_tokens": number + 1,
        "cost": Decimal(number) / 10**12 if number % 4 else None,
        "failed": number % 10 == 0,
    }
    return [UsageEvent.new(**fields) for _ in range(2)]


def record(settings: Settings, events: list[UsageEvent]) -> None:
    recorder = UsageRecorder(settings)
    for event in events:
        assert recorder.record(event)
    recorder.close()


def test_events_move_from_one_installation_to_another(
    installations: tuple[Installation, Installation], tmp_path: Path
) -> None:
    """T-35, T-36: identical requests are two events in the recorder, the worker, the tables, the
    export and the import; all sums are the same in both places, and a second import adds nothing.
    """
    here, there = installations
    events = [event for number in range(PAIRS) for event in twins(number)]
    record(here.settings, events)
    here.work()
    file = tmp_path / "export"

    assert (0, "", f"Exported {2 * PAIRS} events.\n") == here.run("export", "--output", str(file))
    assert (0, f"added {2 * PAIRS}, skipped 0\n", "") == there.run("import", str(file))
    there.work()

    usage = here.usage()
    assert [2 * PAIRS, sum(event.total_tokens for event in events)] == [
        usage["totals"][name] for name in ("requests", "total_tokens")
    ]
    assert usage == there.usage()
    assert (0, f"added 0, skipped {2 * PAIRS}\n", "") == there.run("import", str(file))
    assert usage == there.usage()
    for place in installations:
        status, out, _ = place.run("audit")
        assert (0, True) == (status, out.endswith("It balances.\n"))


def test_what_was_lost_comes_back_from_a_backup(
    installations: tuple[Installation, Installation], tmp_path: Path
) -> None:
    """Into new tables under the old topic: with its numbers each event is as it was."""
    here, _ = installations
    record(here.settings, [event for number in range(PAIRS) for event in twins(number)])
    here.work()
    before, after = tmp_path / "before", tmp_path / "after"
    assert 0 == here.run("export", "--output", str(before))[0]
    usage = here.usage()
    with connect(here.settings.clickhouse_address) as client:
        client.command(f"DROP DATABASE {here.settings.group} SYNC")
    assert 0 == here.run("migrate")[0]

    assert 0 == here.run("import", "--restore", str(before))[0]
    here.work()

    assert usage == here.usage()
    assert 0 == here.run("export", "--output", str(after))[0]
    assert before.read_bytes() == after.read_bytes()


def test_an_import_keeps_the_costs_of_the_export(
    installations: tuple[Installation, Installation], tmp_path: Path
) -> None:
    """The other installation has other prices, and prices only what had none."""
    here, there = installations
    for place, dollars in ((here, 1), (there, 3)):
        with connect(place.settings.clickhouse_address) as client:
            apply_book(client, house_book(dollars), "tests", "")
    models = {MODEL: None, "unpriced": None, "own": Decimal("0.25")}
    events = [
        UsageEvent.new(
            user_id="ada", model=model, cost=cost, prompt_tokens=1_000, total_tokens=1_000
        )
        for model, cost in models.items()
    ]
    record(here.settings, events)
    here.work()
    file = tmp_path / "export"
    assert 0 == here.run("export", "--output", str(file))[0]

    assert 0 == there.run("import", str(file))[0]
    there.work()

    costs = stored_costs(here)
    assert [MODEL, Decimal("0.001"), "priced", house_book(1).version, None] == costs[0]
    assert costs == stored_costs(there)


def stored_costs(place: Installation) -> list[list[Any]]:
    """The cost columns of each row."""
    sql = (
        "SELECT model, cost, cost_source, price_version, reported_cost FROM usage_events"
        " ORDER BY model"
    )
    with connect(place.settings.clickhouse_address) as client:
        return [list(row) for row in client.query(sql).result_rows]


def test_an_export_is_imported_through_a_pipe(
    installations: tuple[Installation, Installation], tmp_path: Path
) -> None:
    """From and to standard streams. What was cut off on the way is sent nowhere."""
    here, there = installations
    record(here.settings, [event for number in range(10) for event in twins(number)])
    here.work()
    pipes = "set -o pipefail; $U export | head -c %d | env $THERE $U import -"
    variables = as_environment(there.settings).items()
    there_ = {"THERE": " ".join(f"{name}={value}" for name, value in variables)}

    def piped(length: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", pipes % length],
            env=clean_environment()
            | as_environment(here.settings)
            | there_
            | {"U": str(BIN / "usagepipe")},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    cut, whole = piped(1_000), piped(1_000_000)

    assert "" == cut.stdout
    assert "it was cut off" in cut.stderr
    assert (0, "added 20, skipped 0\n") == (whole.returncode, whole.stdout)
    assert 20 == sum(end_offsets(there.settings).values())


def begun_import(there: Installation, file: Path) -> Program:
    """An import that has sent something."""
    program = there.run_program("import", str(file), environment=as_environment(there.settings))
    eventually(lambda: sum(end_offsets(there.settings).values()) > 0, SECONDS, program.tail)
    return program


def test_an_import_that_was_killed_is_run_again(
    installations: tuple[Installation, Installation], tmp_path: Path
) -> None:
    """kill -9 while it sends: sent events count once, and the next run sends the others."""
    _, there = installations
    events = [event for number in range(15_000) for event in twins(number)]
    file = export_file(tmp_path / "export", events)
    killed = begun_import(there, file)

    killed.kill()

    sent = sum(end_offsets(there.settings).values())
    assert 0 < sent < len(events)
    assert (0, f"added {len(events)}, skipped 0\n") == there.run("import", str(file))[:2]
    there.work()
    assert sent + len(events) == sum(end_offsets(there.settings).values())
    totals = there.usage()["totals"]
    assert [len(events), sum(event.total_tokens for event in events)] == [
        totals[name] for name in ("requests", "total_tokens")
    ]
    assert sum(event.cost or 0 for event in events) == Decimal(totals["cost"])


def test_ctrl_c_ends_an_import_between_two_batches(
    installations: tuple[Installation, Installation], tmp_path: Path
) -> None:
    """It prints how many events it added, they are stored, and the next run continues."""
    _, there = installations
    events = [event for number in range(15_000) for event in twins(number)]
    file = export_file(tmp_path / "export", events)
    stopped = begun_import(there, file)

    stopped.send_signal(signal.SIGINT)

    assert 130 == stopped.wait()
    added = sum(end_offsets(there.settings).values())
    assert 0 < added < len(events)
    assert f"added {added}, skipped 0\n" == stopped.stdout
    assert "Interrupted: run it again for the rest." in stopped.stderr
    there.work()
    assert (0, f"added {len(events) - added}, skipped {added}\n") == (
        there.run("import", str(file))[:2]
    )

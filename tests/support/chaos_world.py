"""Servers, workers and a proxy between them, for tests that disturb them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.chaos_points import PLAN_VARIABLE, SEED_VARIABLE
from tests.support.crippled_worker import SESSION_VARIABLE
from tests.support.cutting_proxy import CuttingProxy
from tests.support.ports import lasting_port
from tests.support.programs import Program, as_environment, clean_environment
from tests.support.waiting import eventually
from tests.support.worker import committed, end_offsets
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.settings import PREFIX

SESSION_SECONDS: Final = 3.0
CRIPPLED: Final = Path(__file__).with_name("crippled_worker.py")
ROOT: Final = Path(__file__).parents[2]


POISON: Final = "poison"  # the model that `refuse_poison` refuses


def refuse_poison(settings: Settings) -> None:
    """Let ClickHouse refuse some valid events."""
    with connect(settings.clickhouse_address, wait_seconds=30) as client:
        client.command(
            f"ALTER TABLE usage_events ADD CONSTRAINT no_poison CHECK model != '{POISON}'"
        )


# How the table behind a view begins to refuse what the view gives it, and how it ends that. The
# view's own query must not be altered: ClickHouse would take a block's retry for another block.
FAILURES: Final = {
    "constraint": (
        "ALTER TABLE {0} ADD CONSTRAINT chaos CHECK 0",
        "ALTER TABLE {0} DROP CONSTRAINT chaos",
    ),
    "parts": (
        "ALTER TABLE {0} MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1",
        "ALTER TABLE {0} RESET SETTING parts_to_throw_insert, parts_to_delay_insert",
    ),
    "away": ("RENAME TABLE {0} TO {0}_away", "RENAME TABLE {0}_away TO {0}"),
}


@contextmanager
def failing_view(settings: Settings, table: str, failure: str) -> Iterator[None]:
    """Meanwhile the view that feeds `table` fails, when the raw rows of the block are stored."""
    begin, end = (statement.format(table) for statement in FAILURES[failure])
    with connect(settings.clickhouse_address, wait_seconds=30) as client:
        client.command(begin)
        try:
            yield
        finally:
            client.command(end)


class World:
    """Starts workers that reach ClickHouse through the proxy. `settings` name the servers."""

    def __init__(self, settings: Settings, folder: Path, proxy: CuttingProxy) -> None:
        self.settings = settings
        self.folder = folder
        self.proxy = proxy
        self.started: list[Program] = []

    def worker(
        self, *, missing: str = "nothing", points: str = "", seed: int = 0, **given: Any
    ) -> Program:
        """Start one without the guarantee `missing`; `points` is a plan of `chaos_points`."""
        address = self.settings.clickhouse_address
        settings = {
            "clickhouse": f"http://127.0.0.1:{self.proxy.port}/{address.database}",
            "web_port": lasting_port(),
            "insert_seconds": 5,
        } | given
        environment = (
            clean_environment()
            | as_environment(self.settings)
            | {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}
            | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
            | {PLAN_VARIABLE: points, SEED_VARIABLE: str(seed)}
            | {SESSION_VARIABLE: str(SESSION_SECONDS)}
        )
        name = f"worker-{len(self.started) + 1}"
        command = [sys.executable, str(CRIPPLED), missing]
        self.started.append(Program(command, environment, self.folder, name))
        return self.started[-1]

    def settle(self, seconds: float, tend: Callable[[], None] = lambda: None) -> None:
        """Return when all that stands in the topic is committed. `tend` is called meanwhile."""

        def is_settled() -> bool:
            tend()
            return committed(self.settings) == end_offsets(self.settings)

        eventually(
            is_settled,
            seconds,
            lambda: (
                f"everything committed: {committed(self.settings)} of "
                f"{end_offsets(self.settings)}; see {self.folder}\n{self.started[-1].tail()}"
            ),
        )

    def end(self) -> None:
        """Kill the processes that still run."""
        for program in self.started:
            program.kill()
        self.proxy.close()

    def words(self) -> list[str]:
        """All lines that all workers have logged."""
        return [line for program in self.started for line in program.stderr.splitlines()]

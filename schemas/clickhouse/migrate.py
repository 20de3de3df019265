"""Migrates the database to this version of usagepipe, for `usagepipe migrate`.

It takes no lock: every statement may run twice, so two concurrent runs, or an interrupted run and
its repetition, end with the same tables.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from usagepipe.schemas.clickhouse.client import connect, usagepipe_errors
from usagepipe.schemas.clickhouse.ledger import (
    LEDGER,
    Applied,
    Drift,
    find_drifts,
    read_definitions,
    read_ledger,
    write_ledger,
)
from usagepipe.schemas.clickhouse.migrations import (
    Migration,
    Target,
    load_migrations,
    load_statement,
)
from usagepipe.schemas.clickhouse.plan import Step, check_applied, pending, retention_steps
from usagepipe.schemas.clickhouse.retention import retentions
from usagepipe.schemas.logger import HarmlessLogger
from usagepipe.schemas.settings import StorageSettings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = HarmlessLogger("usagepipe.schemas")


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a run did, or would do, and the objects that were altered by hand."""

    steps: tuple[Step, ...]
    drifts: tuple[Drift, ...]


def migrate(
    settings: StorageSettings,
    *,
    dry_run: bool = False,
    accept_drift: bool = False,
    remake: bool = False,
    wait_seconds: float = 0,
    migrations: Sequence[Migration] | None = None,
) -> Migrated:
    """Make the database, its tables and views, and bring their retention to the settings.

    Blocks. `dry_run` changes nothing. `accept_drift` accepts the current definitions;
    `remake` makes what was dropped again; rollups are empty then (`usagepipe audit --repair` fills
    them).

    Raises:
        MigrationError: an applied file was edited, or the tables were made for another cluster.
            Nothing was changed.
        ServerUnavailableError: no server answered within `wait_seconds`.
        UsagePipeError: ClickHouse refused a statement. What was done before stays done.
    """
    address = settings.clickhouse_address
    target = Target(address.database, settings.clickhouse_cluster)
    run = _Run(settings, target, migrations or load_migrations(), dry_run)
    with usagepipe_errors(address):
        # The database first: without it nothing can be read or refused.
        with connect(address, wait_seconds=wait_seconds, database=None) as server:
            made = run.make_database(server)
        if made and dry_run:
            return Migrated((*made, *run.on_nothing()), ())
        with connect(address) as client:
            done = run.migrate(client, accept_drift, remake)
    return replace(done, steps=made + done.steps)


@dataclass(frozen=True, slots=True)
class _Run:
    settings: StorageSettings
    target: Target
    migrations: Sequence[Migration]
    dry_run: bool

    def make_database(self, server: "Client") -> tuple[Step, ...]:
        name = {"database": self.target.database}
        if server.query(load_statement("database_read.sql"), parameters=name).result_rows:
            return ()  # not even IF NOT EXISTS: the user may lack the right to make databases
        sql = self.target.render(load_statement("create_database.sql"))
        if not self.dry_run:
            server.command(sql)
        return (Step("create_database", f"Makes the database {self.target.database}.", sql),)

    def on_nothing(self) -> tuple[Step, ...]:
        """What a run does in an empty database."""
        made = pending(self.migrations, (), self.target)
        tables = {each.object_name(self.target): "" for each in made}
        steps = (Step.of(each, self.target) for each in made)
        return (*steps, *retention_steps(retentions(self.settings), tables, self.target))

    def migrate(self, client: "Client", accept_drift: bool, remake: bool) -> Migrated:
        definitions = read_definitions(client, self.target.database)
        applied = read_ledger(client) if LEDGER in definitions else ()
        # 1. Refuse before the first change.
        check_applied(self.migrations, applied, self.target)
        # 2. Compare before a new migration takes an altered table for granted.
        drifts = find_drifts(applied, definitions)
        if accept_drift:
            self._accept(client, drifts, applied, definitions)
        # 3. Apply, recording each at once: a run that breaks off is simply started again.
        dropped = {drift.object for drift in drifts if drift.object not in definitions}
        waiting = pending(self.migrations, applied, self.target)
        again = self._applied_to(dropped, applied) if remake else ()
        waiting = (*(each for each in again if not each.adds), *waiting)
        steps = tuple(self._apply(client, migration) for migration in waiting)
        for migration in again:
            if migration.adds:  # left out; a table is compared with its last migration's record
                self._record(client, migration)
        # 4. Retention last: it needs the tables, and is no drift.
        planned = {migration.object_name(self.target): "" for migration in waiting}
        steps += self._retain(client, planned | definitions)
        left = (
            drift for drift in drifts if not (remake if drift.object in dropped else accept_drift)
        )
        return Migrated(steps, tuple(left))

    def _applied_to(
        self, objects: Collection[str], applied: Sequence[Applied]
    ) -> tuple[Migration, ...]:
        """The migrations of these tables and views that were applied."""
        done = {entry.version for entry in applied}
        return tuple(
            each
            for each in self.migrations
            if each.version in done and each.object_name(self.target) in objects
        )

    def _apply(self, client: "Client", migration: Migration) -> Step:
        step = Step.of(migration, self.target)
        if not self.dry_run:
            client.command(step.sql)
        self._record(client, migration)
        return step

    def _record(self, client: "Client", migration: Migration) -> None:
        if self.dry_run:
            return
        name = migration.object_name(self.target)
        definition = read_definitions(client, self.target.database)[name]
        write_ledger(client, Applied.of(migration, self.target, definition))
        log.debug("migration_applied", name=migration.name)

    def _retain(self, client: "Client", definitions: Mapping[str, str]) -> tuple[Step, ...]:
        if not self.dry_run:
            definitions = read_definitions(client, self.target.database)
        steps = retention_steps(retentions(self.settings), definitions, self.target)
        for step in () if self.dry_run else steps:
            client.command(step.sql)
            log.debug("retention_changed", name=step.name)
        return steps

    def _accept(
        self,
        client: "Client",
        drifts: Sequence[Drift],
        applied: Sequence[Applied],
        definitions: Mapping[str, str],
    ) -> None:
        drifted = {drift.object for drift in drifts}
        latest = {entry.object: entry for entry in applied if entry.object in drifted}
        for entry in latest.values():
            if entry.object in definitions and not self.dry_run:
                write_ledger(client, replace(entry, definition=definitions[entry.object]))
                log.info("drift_accepted", object=entry.object)

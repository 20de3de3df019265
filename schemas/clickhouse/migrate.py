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
    """Create the database, its tables and views, and set their retention to the settings.

    Blocks. `dry_run` changes nothing. `accept_drift` accepts the current definitions;
    `remake` creates dropped tables and views again; their rollups are empty until `usagepipe audit
    --repair` fills them.

    Raises:
        MigrationError: an applied file was edited, or the tables belong to another cluster.
            Nothing was changed.
        ServerUnavailableError: no server answered within `wait_seconds`.
        UsagePipeError: ClickHouse refused a statement. What was done before stays done.
    """
    address = settings.clickhouse_address
    target = Target(address.database, settings.clickhouse_cluster)
    migrations = migrations or load_migrations()
    with usagepipe_errors(address):
        # The database first: without it nothing can be read or refused.
        with connect(address, wait_seconds=wait_seconds, database=None) as server:
            created = _create_database(server, target, dry_run)
            if created and dry_run:
                run = _Run(server, settings, target, migrations, {}, (), dry_run)
                return run.run(created, accept_drift, remake)
        with connect(address) as client:
            definitions = read_definitions(client, target.database)
            applied = read_ledger(client) if LEDGER in definitions else ()
            run = _Run(client, settings, target, migrations, definitions, applied, dry_run)
            return run.run(created, accept_drift, remake)


def _create_database(server: "Client", target: Target, dry_run: bool) -> tuple[Step, ...]:
    name = {"database": target.database}
    if server.query(load_statement("database_read.sql"), parameters=name).result_rows:
        return ()  # not even IF NOT EXISTS: the user may lack the right to create databases
    sql = target.render(load_statement("create_database.sql"))
    if not dry_run:
        server.command(sql)
    return (Step("create_database", f"Creates the database {target.database}.", sql),)


@dataclass(frozen=True, slots=True)
class _Run:
    """A run on the tables in `definitions`, to which `applied` was applied before."""

    client: "Client"
    settings: StorageSettings
    target: Target
    migrations: Sequence[Migration]
    definitions: dict[str, str]
    applied: Sequence[Applied]
    dry_run: bool

    def run(self, done: tuple[Step, ...], accept_drift: bool, remake: bool) -> Migrated:
        """Run the remaining steps after `done`."""
        # 1. Refuse before the first change.
        check_applied(self.migrations, self.applied, self.target)
        # 2. Compare before a new migration builds on an altered table.
        drifts = find_drifts(self.applied, self.definitions)
        if accept_drift:
            self._accept({drift.object for drift in drifts})
        # 3. Apply, recording each at once: after an interruption, run it again.
        dropped = {drift.object for drift in drifts} - self.definitions.keys()
        again = self._applied_to(dropped) if remake else ()
        waiting = (
            *(each for each in again if not each.adds),
            *pending(self.migrations, self.applied, self.target),
        )
        steps = tuple(self._apply(migration) for migration in waiting)
        for migration in again:
            if migration.adds:  # not applied; a table is compared with its last migration's record
                self._record(migration)
        # 4. Retention last: it needs the tables, and is no drift.
        planned = {migration.object_name(self.target): "" for migration in waiting}
        retained = self._retain(planned | self.definitions)
        left = (
            drift for drift in drifts if not (remake if drift.object in dropped else accept_drift)
        )
        return Migrated(done + steps + retained, tuple(left))

    def _applied_to(self, objects: Collection[str]) -> tuple[Migration, ...]:
        """The migrations of these tables and views that were applied."""
        done = {entry.version for entry in self.applied}
        return tuple(
            each
            for each in self.migrations
            if each.version in done and each.object_name(self.target) in objects
        )

    def _apply(self, migration: Migration) -> Step:
        step = Step(migration.name, migration.purpose, migration.sql(self.target))
        if not self.dry_run:
            self.client.command(step.sql)
        self._record(migration)
        return step

    def _record(self, migration: Migration) -> None:
        if self.dry_run:
            return
        name = migration.object_name(self.target)
        definition = read_definitions(self.client, self.target.database)[name]
        write_ledger(self.client, Applied.of(migration, self.target, definition))
        log.debug("migration_applied", name=migration.name)

    def _retain(self, planned: Mapping[str, str]) -> tuple[Step, ...]:
        live = planned if self.dry_run else read_definitions(self.client, self.target.database)
        steps = retention_steps(retentions(self.settings), live, self.target)
        for step in () if self.dry_run else steps:
            self.client.command(step.sql)
            log.debug("retention_changed", name=step.name)
        return steps

    def _accept(self, drifted: Collection[str]) -> None:
        latest = {entry.object: entry for entry in self.applied if entry.object in drifted}
        for entry in latest.values():
            if entry.object in self.definitions and not self.dry_run:
                definition = self.definitions[entry.object]
                write_ledger(self.client, replace(entry, definition=definition))
                log.info("drift_accepted", object=entry.object)

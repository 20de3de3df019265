"""Plans a migration run from the applied migrations. It uses no server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from usagepipe.schemas.clickhouse.ledger import Applied
from usagepipe.schemas.clickhouse.migrations import Migration, Target
from usagepipe.schemas.clickhouse.retention import Retention
from usagepipe.schemas.errors import MigrationError


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a run."""

    name: str
    purpose: str
    sql: str


def check_applied(
    migrations: Sequence[Migration], applied: Sequence[Applied], target: Target
) -> None:
    """Check that this version can continue from the applied migrations.

    Raises:
        MigrationError: an applied file was edited, is not known, or was applied to one server
            and now a cluster is asked for, or the other way round.
    """
    known = {migration.version: migration for migration in migrations}
    for entry in applied:
        migration = known.get(entry.version)
        if migration is None:
            raise MigrationError(
                f"{entry.name} was applied by a newer usagepipe: install that version."
            )
        if migration.checksum != entry.checksum:
            raise MigrationError(
                f"{migration.name}.sql was edited after it was applied: restore it, "
                "and write the change as a new migration."
            )
        if entry.cluster != target.cluster:
            raise MigrationError(
                f"the tables of {target.database} were made for {_place(entry.cluster)}, and "
                f"USAGEPIPE_CLICKHOUSE_CLUSTER asks for {_place(target.cluster)}: "
                "use another database."
            )


def pending(
    migrations: Sequence[Migration], applied: Sequence[Applied], target: Target
) -> tuple[Migration, ...]:
    """The migrations that `target` still lacks, in order."""
    done = {entry.version for entry in applied}
    return tuple(
        migration
        for migration in migrations
        if migration.version not in done and (target.cluster or not migration.cluster_only)
    )


def retention_steps(
    wanted: Sequence[Retention], definitions: Mapping[str, str], target: Target
) -> tuple[Step, ...]:
    """The statements that bring the tables, defined so, to their wanted retention.

    A table without a definition is left out: it was dropped.
    """
    steps = []
    for retention in wanted:
        name = target.local(retention.table)
        if name in definitions and (sql := retention.change(definitions[name], target)):
            days = f"{retention.days} days" if retention.days else "for ever"
            steps.append(Step(f"retention of {name}", f"Rows stay {days} after arrival.", sql))
    return tuple(steps)


def _place(cluster: str) -> str:
    return f"the cluster {cluster!r}" if cluster else "one server"

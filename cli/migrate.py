"""`usagepipe migrate`: the tables in ClickHouse, then the topics in Kafka."""

import click

from usagepipe.cli.options import clickhouse_option, kafka_option, topic_option
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.migrate import Migrated, migrate
from usagepipe.schemas.logs import configure_logs

DRIFT_STATUS = 1


@click.command("migrate")
@clickhouse_option
@kafka_option
@topic_option
@click.option("--dry-run", is_flag=True, help="Print the SQL and topics and change nothing.")
@click.option("--accept-drift", is_flag=True, help="Take hand-altered tables as they are now.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a server that is starting.",
)
def command(
    clickhouse: str | None,
    kafka: str | None,
    topic: str | None,
    dry_run: bool,
    accept_drift: bool,
    wait: float,
) -> int:
    """Make or update the tables in ClickHouse and the topics in Kafka.

    May be run at any time: what is there already is left alone. Exit status 1 tells that a table
    was altered by hand, or that an applied migration was edited.
    """
    settings = Settings.load(clickhouse=clickhouse, kafka=kafka, topic=topic)
    configure_logs(settings.log_level)
    migrated = migrate(settings, dry_run=dry_run, accept_drift=accept_drift, wait_seconds=wait)
    _print_tables(migrated, dry_run)
    return DRIFT_STATUS if migrated.drifts else 0


def _print_tables(migrated: Migrated, dry_run: bool) -> None:
    for step in migrated.steps:
        click.echo(f"{step.sql};\n" if dry_run else f"{step.name}: {step.purpose}")
    if not migrated.steps:
        click.echo("Tables are up to date.")
    for drift in migrated.drifts:
        click.echo(f"{drift.object} was altered by hand:\n{drift.difference}", err=True)

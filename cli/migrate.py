"""`usagepipe migrate`: the tables in ClickHouse, then the topics in Kafka."""

import click

from usagepipe.cli.options import load_settings, server_options, wait_option
from usagepipe.schemas.clickhouse.migrate import Migrated, migrate
from usagepipe.schemas.logs import configure_logs, quiet_driver
from usagepipe.schemas.settings import MigrationSettings
from usagepipe.schemas.topic_admin import EnsuredTopic, ensure_topics
from usagepipe.schemas.topics import TopicSpec, topic_specs
from usagepipe.schemas.visible import LINES, visible

NOT_AS_WANTED = 1


@click.command("migrate")
@server_options("clickhouse", "kafka", "topic")
@click.option("--dry-run", is_flag=True, help="Print the SQL and the topics, and change nothing.")
@click.option("--remake", is_flag=True, help="Create dropped tables again, empty.")
@click.option("--accept-drift", is_flag=True, help="Accept tables that were altered by hand.")
@wait_option(10.0, "How long to wait for a starting server.")
def command(
    dry_run: bool, accept_drift: bool, remake: bool, wait: float, **servers: str | None
) -> int:
    """Create or update the tables in ClickHouse and the topics in Kafka.

    You can run it at any time; it does not change existing topics. Exit status 1: a table was
    altered by hand, an applied migration was edited, or a topic is compacted.
    """
    settings = load_settings(MigrationSettings, **servers)
    settings.check_retention()
    configure_logs(settings.log_level)
    quiet_driver()
    migrated = migrate(
        settings, dry_run=dry_run, accept_drift=accept_drift, remake=remake, wait_seconds=wait
    )
    _print_tables(migrated, dry_run)
    topics = _ensure_topics(settings, dry_run, wait)
    return NOT_AS_WANTED if migrated.drifts or any(map(_is_harmful, topics)) else 0


def _print_tables(migrated: Migrated, dry_run: bool) -> None:
    for step in migrated.steps:
        click.echo(f"{step.sql};\n" if dry_run else f"{step.name}: {step.purpose}")
    if migrated.drifts:
        click.echo("Tables differ from what usagepipe created: see standard error.")
    elif not migrated.steps:
        click.echo("Tables are up to date.")
    for drift in migrated.drifts:
        click.echo(
            visible(f"{drift.object} was altered by hand:\n{drift.difference}", LINES), err=True
        )


def _ensure_topics(
    settings: MigrationSettings, dry_run: bool, wait: float
) -> tuple[EnsuredTopic, ...]:
    if dry_run:
        for spec in topic_specs(settings):
            click.echo(f"topic {spec.name}: {spec.partitions} partitions, {_settings(spec)}")
        return ()
    topics = ensure_topics(settings, wait_seconds=wait)
    for topic in topics:
        if topic.created:
            click.echo(f"topic {topic.spec.name}: created with {topic.spec.partitions} partitions")
        for difference in topic.differences:
            click.echo(
                f"topic {topic.spec.name}: {difference.setting} is {difference.found}, "
                f"the settings want {difference.wanted}; left as it is.",
                err=True,
            )
    differ = [topic.spec.name for topic in topics if topic.differences]
    if differ:
        click.echo(f"Topics that differ from the settings: {', '.join(differ)}.")
    elif not any(topic.created for topic in topics):
        click.echo("Topics are up to date.")
    return topics


def _is_harmful(topic: EnsuredTopic) -> bool:
    return any(difference.harmful for difference in topic.differences)


def _settings(spec: TopicSpec) -> str:
    return ", ".join(f"{name}={value}" for name, value in spec.config.items())

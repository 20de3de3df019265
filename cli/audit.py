"""`usagepipe audit`: checks that every offset is stored once and that every sum is right."""

from contextlib import closing

import click

from usagepipe.cli import audit_output
from usagepipe.cli.options import load_settings, server_options, wait_option
from usagepipe.consumer.maintenance.audit import Auditor
from usagepipe.schemas.clickhouse.client import usagepipe_errors
from usagepipe.schemas.errors import UnprovenRawError, WrongUseError
from usagepipe.schemas.logs import configure_logs
from usagepipe.schemas.settings import StorageSettings

DOES_NOT_BALANCE = 1

UNFINISHED = (
    "The repair is not finished. Run it again: until then, sums may be too high where rows were "
    "stored and their rollups are not rebuilt yet."
)


@click.command("audit")
@server_options("kafka", "clickhouse", "topic", "group")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--repair",
    is_flag=True,
    help="Store missing rows again, rebuild wrong rollups, and audit again.",
)
@click.option(
    "--trust-raw",
    is_flag=True,
    help="With --repair: treat usage_events as correct and lower the rollups to match it.",
)
@wait_option(30.0, "Longest wait for rollups that are being written.")
def command(
    as_json: bool,
    repair: bool,
    trust_raw: bool,
    wait: float,
    **servers: str | None,
) -> int:
    """Compare the log with the tables.

    Exit status 1: they do not balance, or records wait that no worker consumes.

    Every offset below the committed offset of --group must be stored, have a dead letter, or be a
    duplicate of a stored event. No event and no offset may be stored twice, every rollup must sum
    the stored events, and no producer's sequence may have a gap. Workers may run.

    --repair stores only rows below the committed offset. It deletes nothing: of an event that is
    stored twice, it cannot know which row the workers still need. Stop the workers, delete the
    later row by hand (DELETE FROM usage_events WHERE …), and run it again: it rebuilds the rollups.
    """
    if trust_raw and not repair:
        raise WrongUseError("--trust-raw needs --repair.")
    settings = load_settings(StorageSettings, **servers)
    settings.check_retention()
    configure_logs("warning")
    with usagepipe_errors(settings.clickhouse_address), closing(Auditor(settings, wait)) as auditor:
        found = auditor.audit()
        if repair and not found.balances:
            try:
                rows, rebuilt = auditor.repair(found, trust_raw=trust_raw)
            except UnprovenRawError:
                audit_output.print_audit(found, as_json=as_json)
                raise
            except KeyboardInterrupt:
                click.echo(UNFINISHED, err=True)
                raise
            click.echo(
                f"Repaired: {rows:,} rows stored, {rebuilt:,} rows added to rollups.", err=True
            )
            found = auditor.audit()
    audit_output.print_audit(found, as_json=as_json)
    return 0 if found.balances and not found.unconsumed else DOES_NOT_BALANCE

"""`usagepipe status`: the workers, the lag, and the newest stored event."""

import click

from usagepipe.cli import status_output
from usagepipe.cli.options import load_settings, server_options
from usagepipe.consumer.maintenance.status import read_status
from usagepipe.schemas.errors import ServerUnavailableError
from usagepipe.schemas.logs import configure_logs
from usagepipe.schemas.settings import StorageSettings

NOT_CONSUMED = 1


@click.command("status")
@server_options("kafka", "clickhouse", "topic", "group")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool, **servers: str | None) -> int:
    """Show the workers of --group, the records that wait for them, and the newest stored event.

    Exit status 1: records wait that no worker consumes, or a partition is parked. 3: a server does
    not answer; the state of the other one is printed.
    """
    settings = load_settings(StorageSettings, **servers)
    configure_logs("warning")
    found = read_status(settings)
    status_output.print_status(found, as_json=as_json)
    for problem in found.problems:
        click.echo(f"Error: {problem}", err=True)
    if found.problems:
        return ServerUnavailableError.exit_status
    return NOT_CONSUMED if found.unconsumed or found.parked else 0

"""`usagepipe explain`: how the cost of one event comes about."""

from contextlib import closing
from uuid import UUID

import click

from usagepipe.cli.explain_json import explained_fields
from usagepipe.cli.explain_output import print_explained
from usagepipe.cli.options import load_settings, server_options
from usagepipe.query.cards import json_text
from usagepipe.query.explanations import Explainer
from usagepipe.query.store import Store
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.logs import configure_logs, quiet_driver
from usagepipe.schemas.settings import QuerySettings

NOT_PROVEN = 1


@click.command("explain")
@server_options("clickhouse")
@click.argument("event_id", type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(clickhouse: str | None, event_id: UUID, as_json: bool) -> int:
    """Show how the cost of the event EVENT_ID comes about.

    Computes the price again with the price book that the stored row names: tokens of each class
    times their rates. If the provider reported the cost or a handler stamped it, shows what the
    active price book would charge. For an event without a cost, says why it has none.

    Exit status 1: the event is not stored, its price book cannot be used, or the stored cost is not
    what the book charges.
    """
    settings = load_settings(QuerySettings, clickhouse=clickhouse)
    configure_logs(settings.log_level)
    quiet_driver()
    with closing(Store(connect(settings.clickhouse_address))) as store:
        found = Explainer(store).explain(event_id)
    if as_json:
        click.echo(json_text(explained_fields(found), indent=2))
    else:
        print_explained(found)
    return 0 if found.is_proven else NOT_PROVEN

"""`usagepipe prices apply`: make a price book the active one."""

from datetime import UTC, datetime

import click

from usagepipe.cli import prices_difference
from usagepipe.cli.operator import author, confirmed
from usagepipe.cli.options import server_options
from usagepipe.cli.price_sources import ACTIVE, PriceSources, is_version, price_sources
from usagepipe.query.periods import range_of
from usagepipe.query.repricing import affected_models
from usagepipe.query.store import Store
from usagepipe.schemas.clickhouse.price_books import active_version, apply_book, history
from usagepipe.schemas.errors import (
    DamagedBookError,
    MissingBookError,
    UsagePipeError,
    WrongUseError,
)
from usagepipe.schemas.prices import PriceBook, Pricer
from usagepipe.schemas.prices.difference import compare

DECLINED = 1
UNUSABLE = (DamagedBookError, MissingBookError)  # applying a book is the cure
WORKERS_CHANGE = "Workers change to it within 20 seconds. Stored events keep their costs."


@click.command("apply")
@click.argument("book", metavar="BOOK", required=False)
@click.option("--version", metavar="VERSION", help="Go back to this stored book, instead of BOOK.")
@click.option("--comment", default="", metavar="TEXT", help="Kept in the history.")
@click.option("--dry-run", is_flag=True, help="Show the difference, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options("clickhouse")
def apply(
    book: str | None,
    version: str | None,
    comment: str,
    dry_run: bool,
    yes: bool,
    clickhouse: str | None,
) -> int:
    """Make BOOK the active one: a price file, an earlier version, or built-in.

    A price file replaces the one before as a whole. First it shows the difference to the active
    book, and the models of the last 30 days whose prices differ: with the cost that is stored, and
    what the same tokens would cost by the new book. Events that are priced from now on get the new
    prices, each those of its own time. Stored events keep their costs.

    Exit status 1: you declined, or another book was applied meanwhile.
    """
    name = book or version
    if name is None or (book and version):
        raise WrongUseError("Give one of BOOK and --version.")
    if name == ACTIVE:
        raise WrongUseError("That book is active already.")
    if version and not is_version(version):
        raise WrongUseError(f"{version} is not a version: it has 16 digits, as in the history.")
    with price_sources(clickhouse) as sources:
        new, before = sources.named(name), active_version(sources.client)
        if before == new.version and _is_whole(sources):
            click.echo(f"The book {new.version} is active already: nothing was changed.")
            return 0
        _print_effects(sources, new)
        if dry_run:
            click.echo("Dry run: nothing was changed.")
            return 0
        if not yes and not confirmed(f"Apply {new.version}?", "apply it"):
            click.echo("Nothing was changed.", err=True)
            return DECLINED
        _apply(sources, new, before, comment)
    return 0


def _apply(sources: PriceSources, new: PriceBook, before: str, comment: str) -> None:
    """Apply the book, unless another one was applied since the difference was shown."""
    client = sources.client
    if active_version(client) != before:
        latest = next(iter(history(client)), None)
        what = (
            f"{latest.applied_by} applied the book {latest.version} meanwhile"
            if latest
            else "The table price_book_history was emptied meanwhile"
        )
        raise UsagePipeError(
            f"{what}, so the difference shown above is no longer right. Nothing was changed: run it"
            " again."
        )
    apply_book(client, new, author(), comment)
    click.echo(f"Applied {new.version}. {WORKERS_CHANGE}")
    if (active := active_version(client)) != new.version:
        raise UsagePipeError(
            f"The book {active} was applied at the same time, and is active now. usagepipe prices"
            " history lists both."
        )


def _is_whole(sources: PriceSources) -> bool:
    """Whether the active book can be read."""
    try:
        sources.active()
    except UNUSABLE:
        return False
    return True


def _print_effects(sources: PriceSources, new: PriceBook) -> None:
    try:
        old = sources.active()
    except UNUSABLE as error:
        click.echo(f"Warning: {error} What it changes cannot be shown.", err=True)
        return
    prices_difference.print_difference(old, new, compare(old, new))
    month = range_of("month", datetime.now(UTC))
    affected = affected_models(Store(sources.client), month, Pricer(old), Pricer(new))
    prices_difference.print_affected(affected)

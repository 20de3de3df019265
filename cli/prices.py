"""`usagepipe prices`: show, compare, check and apply price books."""

from datetime import UTC, datetime
from difflib import get_close_matches

import click

from usagepipe.cli import prices_difference, prices_output
from usagepipe.cli.options import Moment, combined, server_options
from usagepipe.cli.price_sources import ACTIVE, price_sources, read_price_file
from usagepipe.cli.prices_apply import apply
from usagepipe.cli.prices_unpriced import unpriced
from usagepipe.query.cards import json_text
from usagepipe.schemas.clickhouse.price_books import history
from usagepipe.schemas.errors import UsagePipeError, WrongUseError
from usagepipe.schemas.prices import PriceBook, builtin_book
from usagepipe.schemas.prices.difference import compare
from usagepipe.schemas.prices.lookup import Lookup

NEAREST = 5
CLOSENESS = 0.5  # of a name to the one that was given, from 0 to 1

_book_options = combined(
    click.option(
        "--book",
        default=ACTIVE,
        show_default=True,
        metavar="BOOK",
        help="A version, a price file, active or built-in, which needs no server.",
    ),
    click.option(
        "--at", type=Moment(), help="The moment whose rates count, as 2026-01-31.  [default: now]"
    ),
    click.option("--provider", metavar="TEXT", help="Who serves the model, as events name it."),
    server_options("clickhouse"),
)


@click.group("prices")
def command() -> None:
    """Show, compare, check and apply price books; find what has no price.

    A BOOK is the version of a stored book, a price file, `active` (what workers price with: the
    book that was applied last), or `built-in` (the public prices that come with usagepipe).
    """


command.add_command(apply)
command.add_command(unpriced)


@command.command("list")
@click.argument("text", required=False, default="")
@_book_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_models(
    text: str,
    book: str,
    at: datetime | None,
    provider: str | None,
    clickhouse: str | None,
    as_json: bool,
) -> int:
    """List the models of a book whose name has TEXT, with their rates.

    Exit status 1: there is none.
    """
    with price_sources(clickhouse) as sources:
        found = sources.named(book)
    known = provider and _provider_of(found, provider)
    rows = [
        (owner, entry)
        for owner, entry in prices_output.models_of(found)
        if text.lower() in entry.id.lower() and (not provider or owner in ("", known))
    ]
    if as_json:
        prices_output.print_models_json(rows, found, at or datetime.now(UTC))
    elif rows:
        prices_output.print_models(rows, found, at or datetime.now(UTC))
    else:
        click.echo(f"No model of the book {found.version} matches.")
    return 0 if rows else 1


@command.command("show")
@click.argument("model")
@_book_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(
    model: str,
    book: str,
    at: datetime | None,
    provider: str | None,
    clickhouse: str | None,
    as_json: bool,
) -> None:
    """Show everything that decides the price of MODEL: its entry, rates, dates, tiers, discounts.

    MODEL is a name as events have it. Without --provider, it is priced like an event that names no
    provider. Exit status 1: the book has no entry for it.
    """
    if not model.strip():
        raise WrongUseError("Give the name of a model. usagepipe prices list shows them all.")
    with price_sources(clickhouse) as sources:
        found = sources.named(book)
    lookup = Lookup(found.document)
    others = [each.id for each in found.document.providers if lookup.find(each.id, model)]
    entry = lookup.find(provider or "", model)
    if entry is None:
        if provider:
            _provider_of(found, provider)
        raise UsagePipeError(_no_entry(found, model, provider, others))
    prices_output.print_model(
        prices_output.ShownModel(found, model, entry, at or datetime.now(UTC), others),
        as_json=as_json,
    )


@command.command("diff")
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@server_options("clickhouse")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(old: str, new: str, clickhouse: str | None, as_json: bool) -> int:
    """Show how book B differs from book A: models added, removed and changed, with both rates.

    Exit status 1: they differ.
    """
    with price_sources(clickhouse) as sources:
        before, after = sources.named(old), sources.named(new)
    prices_difference.print_difference(before, after, compare(before, after), as_json=as_json)
    return int(before.version != after.version)


@command.command("check")
@click.argument("file", metavar="FILE")
def check(file: str) -> None:
    """Check a price FILE, and show all its mistakes with their lines. Needs no server.

    Exit status 2: it has mistakes, or cannot be read.
    """
    book = read_price_file(file)
    changes = compare(builtin_book(), book)
    click.echo(
        f"{file} is right. Compared with the built-in book: {prices_difference.summary(changes)}"
    )
    click.echo(f"Version {book.version}, {len(prices_output.models_of(book)):,} models.")


@command.command("history")
@server_options("clickhouse")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def show_history(clickhouse: str | None, as_json: bool) -> None:
    """Show which book was applied when and by whom, the newest first. The first one is active."""
    with price_sources(clickhouse) as sources:
        applications = history(sources.client)
    if as_json:
        for number, each in enumerate(applications):
            click.echo(json_text(prices_output.application_fields(each, active=number == 0)))
    elif applications:
        prices_output.print_history(applications)
    else:
        click.echo(
            "No price book was applied: workers price with the built-in book of their version of"
            f" usagepipe. Here, that is {builtin_book().version}."
        )


def _provider_of(book: PriceBook, name: str) -> str:
    """The id of the provider that events call `name`.

    Raises:
        UsagePipeError: the book does not know it.
    """
    known = Lookup(book.document).provider_of(name, "")
    if known is None:
        ids = [each.id for each in book.document.providers]
        near = get_close_matches(name.lower(), ids, NEAREST, CLOSENESS) or ids
        has = f"It has {', '.join(near)}." if near else "It has none."
        raise UsagePipeError(f"The book {book.version} has no provider {name}. {has}")
    return known.id


def _no_entry(book: PriceBook, model: str, provider: str | None, others: list[str]) -> str:
    """The sentence that there is no entry, with names that may be meant."""
    of_whom = f" of {provider}" if provider else ""
    text = f"The book {book.version} has no entry for {model}{of_whom}."
    if others:
        return f"{text} It has one for --provider {' or '.join(others)}."
    name = model.lower()
    ids = {entry.id: None for _, entry in prices_output.models_of(book)}
    near = [each for each in ids if name in each.lower() or each.lower() in name]
    near += get_close_matches(name, ids, NEAREST, CLOSENESS)
    meant = list(dict.fromkeys(near))[:NEAREST]
    return f"{text} The nearest names are {', '.join(meant)}." if meant else text

"""Prints how two price books differ."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import click
from rich.text import Text

from usagepipe.query.cards import Cards, json_text, terminal
from usagepipe.query.repricing import Affected
from usagepipe.query.tables import affected_table
from usagepipe.schemas.prices import PriceBook
from usagepipe.schemas.prices.difference import Change, Changed, Difference
from usagepipe.schemas.prices.wording import EVERY_PROVIDER
from usagepipe.schemas.visible import visible

NONE: Final = "-"
_WORDS: Final = ("provider", "model", "prices", "what", "old", "new")


def print_difference(
    old: PriceBook, new: PriceBook, difference: Difference, *, as_json: bool = False
) -> None:
    """The models that were added, removed and changed, with both rates."""
    if as_json:
        fields = {"old": old.version, "new": new.version, **asdict(difference)}
        click.echo(json_text(fields, indent=2))
        return
    click.echo(f"From {old.version} to {new.version}: {summary(difference)}")
    _print_models("Added", difference.added)
    _print_models("Removed", difference.removed)
    _print_changes("Changed", difference.changed)
    _print_changes("Discounts", [Changed("", "", difference.discounts)])
    _print_changes("Units", [Changed("", "", difference.units)])
    if not difference and old.version != new.version:
        click.echo("All prices are equal, but the entries are tried in another order.")


def summary(difference: Difference) -> str:
    """One sentence with the counts."""
    counts = {
        "added": len(difference.added),
        "removed": len(difference.removed),
        "changed": len(difference.changed),
    }
    words = [f"{count:,} {word}" for word, count in counts.items() if count]
    if difference.discounts:
        words.append(f"{len(difference.discounts):,} discounts differ")
    if difference.units:
        words.append(f"{len(difference.units):,} units differ")
    return f"{', '.join(words)}." if words else "no price differs."


def _print_models(title: str, models: Sequence[Changed]) -> None:
    rows = [
        (each.provider or EVERY_PROVIDER, each.model or NONE, _facts(each.changes))
        for each in models
    ]
    if rows:
        terminal().print(Cards(title, ("provider", "model", "prices"), rows, words=_WORDS))


def _facts(changes: Sequence[Change]) -> Text:
    """A line for each fact."""
    texts = (f"{each.name}: {each.new if each.old is None else each.old}" for each in changes)
    return Text("\n".join(map(visible, texts)))


def _print_changes(title: str, models: Sequence[Changed]) -> None:
    named = any(each.provider or each.model for each in models)
    rows = [
        (
            *((each.provider or EVERY_PROVIDER, each.model or NONE) if named else ()),
            change.name,
            NONE if change.old is None else change.old,
            NONE if change.new is None else change.new,
        )
        for each in models
        for change in each.changes
    ]
    headings = (*(("provider", "model") if named else ()), "what", "old", "new")
    if rows:
        terminal().print(Cards(title, headings, rows, words=_WORDS))


def print_affected(affected: Sequence[Affected]) -> None:
    """The models of the last 30 days with other prices, and what they would cost."""
    if affected:
        terminal().print(affected_table(affected))
    else:
        click.echo("No model of the last 30 days has another price.")

"""`usagepipe prices unpriced`: the models without a price, and a price file that has one."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import click

from usagepipe.cli.options import server_options
from usagepipe.cli.price_sources import price_sources
from usagepipe.query.cards import Cards, iso_text, json_text, terminal
from usagepipe.query.periods import PERIOD_NAMES, PeriodName, range_of
from usagepipe.query.store import Store
from usagepipe.query.tables import NONE
from usagepipe.query.unpriced import UnpricedModel, UnpricedUsage, unpriced_usage
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.prices import Pricer, Unpriced
from usagepipe.schemas.prices.units import Units
from usagepipe.schemas.prices.yaml_text import can_be_named, model_text, scalar

HEADINGS: Final = ("provider", "model", "unpriced", "total tokens", "newest (UTC)", "why")
WORDS: Final = ("provider", "model", "why")
HEADER: Final = """\
# Fill in the empty rates, and add these models to your price file: a file that is applied replaces
# the one before as a whole. Then: usagepipe prices check FILE, usagepipe prices apply FILE.
models:"""
CURABLE: Final = (Unpriced.NO_ENTRY, Unpriced.NO_RATE)


@click.command("unpriced")
@click.option("--period", type=click.Choice(PERIOD_NAMES), default="month", show_default=True)
@click.option("--yaml", "as_yaml", is_flag=True, help="Print only the models of a price file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@server_options("clickhouse")
def unpriced(period: PeriodName, as_yaml: bool, as_json: bool, clickhouse: str | None) -> None:
    """Show the models that were used without a price, why, and YAML that would price them.

    Provider and model are shown as they were recorded. The reason is that of the active book: if
    it has a price now, the events were stored before it was applied. An empty rate in the YAML is
    one to fill in; until then usagepipe prices check calls it a mistake.
    """
    if as_yaml and as_json:
        raise WrongUseError("--yaml and --json exclude each other.")
    with price_sources(clickhouse) as sources:
        pricer = Pricer(sources.active())
        span = range_of(period, datetime.now(UTC))
        found = unpriced_usage(Store(sources.client), span, pricer)
    if as_json:
        click.echo(json_text(_fields(found, pricer), indent=2))
    elif as_yaml:
        click.echo(price_file(found.models, pricer) or "# No rate is missing.")
    else:
        print_unpriced(found, period, pricer)


def print_unpriced(found: UnpricedUsage, period: str, pricer: Pricer) -> None:
    """A row for each model and reason, and the models of a price file."""
    if found.models:
        title = f"Without a price, {period}; reasons of the active book {pricer.version}"
        terminal().print(Cards(title, HEADINGS, map(_cells, found.models), words=WORDS))
    elif not found.left_out:
        click.echo(f"Every request has a price, {period}.")
    if found.left_out:
        click.echo(
            f"{found.left_out:,} more have no price and are no longer in the raw table: see"
            " usagepipe usage --by provider --by model."
        )
    if text := price_file(found.models, pricer):
        click.echo(f"\n{text}")


def _cells(each: UnpricedModel) -> tuple[str, ...]:
    return (
        each.provider or NONE,
        each.model or NONE,
        f"{each.requests:,}",
        f"{each.tokens:,}",
        f"{each.newest_at.astimezone(UTC):%Y-%m-%d %H:%M}",
        each.sentence,
    )


def _fields(found: UnpricedUsage, pricer: Pricer) -> dict[str, Any]:
    models = [
        {
            "provider": each.provider,
            "model": each.model,
            "unpriced_requests": each.requests,
            "total_tokens": each.tokens,
            "newest": iso_text(each.newest_at),
            "reason": each.word,
            "sentence": each.sentence,
            "without_rate": each.culprits,
            "units": sorted(each.units),
        }
        for each in found.models
    ]
    fields = {"version": pricer.version, "models": models, "left_out": found.left_out}
    return fields | {"yaml": price_file(found.models, pricer)}


def price_file(models: Iterable[UnpricedModel], pricer: Pricer) -> str:
    """A price file with the models that a rate would price; empty if there is none. A comment
    names each of them that a price file cannot name."""
    grouped: dict[tuple[str, str], list[UnpricedModel]] = {}
    unnamed: list[UnpricedModel] = []
    for each in models:
        if each.reason not in CURABLE:
            continue
        if not can_be_named(each.model):
            unnamed.append(each)
            continue
        key = each.provider.strip().lower(), each.model.lower()  # case does not count there
        grouped.setdefault(key, []).append(each)
    lines = [line for group in grouped.values() for line in _item(group, pricer)]
    return "\n".join([*([HEADER, *lines] if lines else ()), *map(_left_out, unnamed)])


def _left_out(each: UnpricedModel) -> str:
    return (
        f"# Not here, because a price file cannot name the model {scalar(each.model)} of"
        f" {scalar(each.provider)}: {each.requests:,} unpriced, {each.tokens:,} tokens"
    )


def _item(group: list[UnpricedModel], pricer: Pricer) -> Iterator[str]:
    provider, model = group[0].provider, group[0].model
    units = Units(pricer.book.document.units)
    requests, tokens = sum(each.requests for each in group), sum(each.tokens for each in group)
    yield f"  # {requests:,} unpriced, {tokens:,} tokens"
    counted = {name for each in group for name in each.units}
    for name in sorted(each for each in counted if each not in units):
        yield f"  # {scalar(name)} is a unit that no rate is for: events with it stay unpriced."
    found = pricer.find(provider, model)
    if found is None:
        yield model_text(provider, model, (), (), _asked(counted, units), units)
        return
    missing = {name for each in group for name in each.culprits if name in units}
    variants = found.entry.variants if found.has_variants else ()
    yield model_text(provider, model, found.entry.periods, variants, missing, units)


def _asked(counted: set[str], units: Units) -> set[str]:
    """The rates that price a new model which counts these units."""
    known = {name for name in counted if name in units} - {"output_reasoning_tokens"}
    return known or {"requests"}

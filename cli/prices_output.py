"""Prints the contents of price books, and their history."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import click

from usagepipe.query.cards import Cards, iso_text, json_text, terminal
from usagepipe.schemas.clickhouse.price_books import Application
from usagepipe.schemas.prices import PriceBook
from usagepipe.schemas.prices.document import Discount, Entry, Period, TieredRate, Unit, Variant
from usagepipe.schemas.prices.lookup import FoundEntry
from usagepipe.schemas.prices.rates import period_at, utc_text
from usagepipe.schemas.prices.units import Units
from usagepipe.schemas.prices.usage import NORMAL_UNITS
from usagepipe.schemas.prices.wording import (
    EVERY_PROVIDER,
    clause_text,
    discount_text,
    rate_text,
    rule_text,
)
from usagepipe.schemas.visible import visible

SHOWN_RATES: Final = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
SECONDS: Final = "%Y-%m-%d %H:%M:%S"
NONE: Final = "-"

Model = tuple[str, Entry]  # with the id of its provider


def models_of(book: PriceBook) -> list[Model]:
    """The models of a book, each once: a replaced entry is in a book under two conditions."""
    found = {(owner, entry.id.lower()): (owner, entry) for owner, entry in book.document.entries()}
    return [found[key] for key in sorted(found)]


def print_models(models: Iterable[Model], book: PriceBook, at: datetime) -> None:
    """A row for each model, with the rates of a moment for ordinary requests."""
    headings = ("provider", "model", *SHOWN_RATES, "other rates", "also")
    title = f"Book {book.version}: US dollars at {at.astimezone(UTC):{SECONDS}} UTC"
    rows = [_model_cells(*each, book.document.units, utc_text(at)) for each in models]
    words = ("provider", "model", "other rates", "also")
    terminal().print(Cards(title, headings, rows, words=words, caption=f"{len(rows):,} models."))


def print_models_json(models: Iterable[Model], book: PriceBook, at: datetime) -> None:
    for owner, entry in models:
        click.echo(json_text(_entry_fields(owner, entry, book.document.units, utc_text(at))))


def _model_cells(owner: str, entry: Entry, units: dict[str, Unit], at: str) -> tuple[str, ...]:
    rates = period_at(entry, at).rates if entry.periods else {}
    texts = {units[name].rate_name: rate_text(rate) for name, rate in rates.items()}
    shown = [texts.pop(name, NONE) for name in SHOWN_RATES]
    others = ", ".join(f"{name} {text}" for name, text in texts.items())
    return owner or EVERY_PROVIDER, entry.id, *shown, others or NONE, _also(entry) or NONE


def _also(entry: Entry) -> str:
    """What a row cannot show."""
    target = entry.same_as
    words = {
        "own": entry.own,
        f"as {target.provider}/{target.model}" if target else "": target,
        "dates": any(each.since for each in entry.periods),
        "hours": any(each.daily for each in entry.periods),
        "variants": entry.variants,
    }
    return ", ".join(word for word, there in words.items() if there)


@dataclass(frozen=True, slots=True)
class ShownModel:
    """A model of a book at a moment. `others` are the providers that have it, too."""

    book: PriceBook
    model: str
    found: FoundEntry
    at: datetime
    others: Sequence[str]

    @property
    def rules(self) -> Iterator[tuple[Period, bool]]:
        """Every rule, and whether it counts at this moment for the requests that it is for."""
        at, entry = utc_text(self.at), self.found.entry
        active = period_at(entry, at)
        yield from ((each, each is active) for each in entry.periods)
        if self.found.has_variants:
            yield from ((each, each.active(at)) for each in entry.variants)

    @property
    def fallbacks(self) -> dict[str, str | None]:
        """The classes of tokens without a rate of their own now, and whose rate they have."""
        rates = period_at(self.found.entry, utc_text(self.at)).rates
        units = Units(self.book.document.units)
        names = [name for name in NORMAL_UNITS if name not in rates and name != "requests"]
        return {name: units.nearest(name, rates) for name in names}

    @property
    def discounts(self) -> list[Discount]:
        """The discounts that count for its provider: also those of customers, and later ones."""
        every = self.book.document.discounts
        return [each for each in every if each.provider in ("", self.found.provider)]


def print_model(shown: ShownModel, *, as_json: bool) -> None:
    """Everything that decides the price of one model."""
    if as_json:
        click.echo(json_text(_model_fields(shown), indent=2))
        return
    for name, text in _sentences(shown):
        click.echo(visible(f"{name + ':':<13}{text}"))
    units = shown.book.document.units
    rows = [
        (rule_text(rule) or "always", units[unit].rate_name, amount, _per(units[unit]), limit, note)
        for rule, active in shown.rules
        for unit, rate in rule.rates.items()
        for amount, limit in _tiers(rate)
        for note in ["yes" if active else "no"]
    ]
    headings = ("rule", "rate", "US dollars", "for", "prompts above", "counts")
    terminal().print(Cards("", headings, rows, words=("rule", "rate", "for")))


def _sentences(shown: ShownModel) -> Iterator[tuple[str, str]]:
    found, entry = shown.found, shown.found.entry
    yield "model", shown.model
    yield "book", shown.book.version
    yield "time", f"{shown.at.astimezone(UTC):{SECONDS}} UTC"
    source = "your price file" if entry.own else "the built-in book"
    yield "entry", f"{found.owner or EVERY_PROVIDER}/{entry.id}, from {source}"
    if found.alias:
        yield "alias", f"{found.alias.id} has the prices of this entry"
    yield "provider", found.provider or "(none)"
    yield "names", clause_text(entry.match)
    for name, rate in shown.fallbacks.items():
        cure = f"have the rate of {rate}" if rate else "have no rate: events with them are unpriced"
        yield "fallback", f"{name} {cure}"
    for unit, least in entry.minimums.items():
        yield "minimum", f"at least {least:,} {unit} are billed"
    for each in shown.discounts:
        yield "discount", f"{each.negotiated:f} of these rates for {discount_text(each)}"
    if more := [each for each in shown.others if each != found.provider]:
        yield "also", f"--provider {', '.join(more)}"


def _tiers(rate: Any) -> list[tuple[str, str]]:
    """The rates by size of the prompt, with the size."""
    if not isinstance(rate, TieredRate):
        return [(f"{rate:f}", NONE)]
    tiers = [(f"{each.rate:f}", f"{each.above:,}") for each in rate.tiers]
    return [(f"{rate.base:f}", NONE), *tiers]


def _per(unit: Unit) -> str:
    return f"{unit.per:,}" if unit.per > 1 else "one"


def _model_fields(shown: ShownModel) -> dict[str, Any]:
    found, units = shown.found, shown.book.document.units
    return {
        "version": shown.book.version,
        "at": iso_text(shown.at),
        **_entry_fields(found.owner, found.entry, units, utc_text(shown.at)),
        "model": shown.model,
        "entry": found.entry.id,
        "paid_to": found.provider,
        "alias": found.alias.id if found.alias else None,
        "rules": [
            {
                "since": rule.since,
                "daily": rule.daily,
                "when": rule.when if isinstance(rule, Variant) else {},
                "counts": counts,
                "rates": _rate_fields(rule, units),
            }
            for rule, counts in shown.rules
        ],
        "fallbacks": shown.fallbacks,
        "minimums": found.entry.minimums,
        "discounts": [each.model_dump(mode="json") for each in shown.discounts],
        "providers": list(shown.others),
    }


def _entry_fields(owner: str, entry: Entry, units: dict[str, Unit], at: str) -> dict[str, Any]:
    return {
        "provider": owner,
        "model": entry.id,
        "names": clause_text(entry.match),
        "own": entry.own,
        "same_as": entry.same_as and entry.same_as.model_dump(),
        "rates": _rate_fields(period_at(entry, at), units) if entry.periods else {},
    }


def _rate_fields(rule: Period, units: dict[str, Unit]) -> dict[str, Any]:
    """Rates by name. Numbers are text: a JSON number would be read as a float."""
    fields = rule.model_dump(mode="json")["rates"]
    return {units[name].rate_name: rate for name, rate in fields.items()}


def print_history(applications: Sequence[Application]) -> None:
    """A row for each application. The first one is active."""
    rows = [
        (
            f"{each.applied_at.astimezone(UTC):{SECONDS}}",
            each.version,
            each.applied_by,
            each.comment or NONE,
            "yes" if number == 0 else "no",
        )
        for number, each in enumerate(applications)
    ]
    headings = ("applied (UTC)", "version", "by", "comment", "active")
    terminal().print(Cards("Applied price books", headings, rows, words=("by", "comment")))


def application_fields(application: Application, *, active: bool) -> dict[str, Any]:
    fields = application._asdict() | {"applied_at": iso_text(application.applied_at)}
    return fields | {"active": active}

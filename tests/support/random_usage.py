"""Random usages of the models of a price book: counts that add up, over the units with a price."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.support.price_usage import Usage
from usagepipe.schemas.prices.document import Clause, Document, Entry
from usagepipe.schemas.prices.rates import FREE_UNITS
from usagepipe.schemas.prices.units import Units

TOKENS: Final = {
    "input_tokens": "prompt_tokens",
    "cache_read_tokens": "cached_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "output_tokens": "completion_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
}
CONTEXTS: Final = ("", "default", "flex", "priority", "fast", "standard")
# Few of one unit, the size of a prompt on both sides of every tier, and odd numbers.
COUNTS: Final = (1, 7, 999, 12_345, 99_999, 150_001, 272_003, 1_000_003)


@dataclass(frozen=True)
class Model:
    """An entry, and the names under which an event may ask for it."""

    provider: str
    entry: Entry

    @property
    def priced(self) -> set[str]:
        """Units that have a rate at some time."""
        parts = (*self.entry.periods, *self.entry.variants)
        return {unit for part in parts for unit in part.rates}


def models_of(document: Document) -> list[Model]:
    """All models of all providers."""
    return [Model(each.id, entry) for each in document.providers for entry in each.models]


def names_of(clause: Clause) -> list[str]:
    """Names that may match it."""
    if clause.equals is not None:
        return [clause.equals]
    if clause.starts_with is not None:
        return [clause.starts_with, f"{clause.starts_with}-20251211"]
    if clause.ends_with is not None:
        return [f"x-{clause.ends_with}"]
    if clause.contains is not None:
        return [f"x-{clause.contains}-y"]
    if clause.any_of is not None:
        return [name for each in clause.any_of for name in names_of(each)]
    parts = [names_of(each)[:1] for each in clause.all_of or ()]
    return ["-".join(name for part in parts for name in part)]


class RandomUsages:
    """Usages whose units are in exactly one class before they are counted."""

    def __init__(self, units: Units, seed: int) -> None:
        self.random = random.Random(seed)
        self._units = units

    def moment(self, entry: Entry | None = None) -> datetime:
        """Any minute of four years, more often a recent one, or one where a rate begins."""
        if entry is not None and (edges := _edges(entry)) and self.random.random() < 0.5:
            edge = self.random.choice(edges)
            return edge + timedelta(milliseconds=self.random.choice((-1, 0, 1)))
        days = self.random.choice((30, 400, 1500))
        minutes = self.random.randrange(days * 24 * 60)
        return datetime(2026, 11, 30, tzinfo=UTC) - timedelta(minutes=minutes)

    def counts(self, priced: Sequence[str]) -> dict[str, int]:
        """Counts of the priced units, and sometimes of a part of one that has no rate itself."""
        units = [name for name in priced if name != "requests"]
        if units and self.random.random() < 0.3:
            whole = self.random.choice(units)
            units += self.random.sample(parts, 1) if (parts := self._parts(whole)) else []
        classes = {
            name: self.random.choice(COUNTS) + self.random.randrange(9)
            for name in units
            if self.random.random() < 0.7
        }
        return {name: self._count(name, classes) for name in units}

    def _parts(self, whole: str) -> list[str]:
        """Not those that genai-prices does not know."""
        return sorted({*self._units.parts_of(whole, self._units.by_name)}.difference(FREE_UNITS))

    def _count(self, name: str, classes: Mapping[str, int]) -> int:
        return classes.get(name, 0) + sum(
            classes[part] for part in self._units.parts_of(name, classes)
        )

    def usage(self, model: Model, name: str, counts: Mapping[str, int]) -> Usage:
        """An event of `name` with these counts, at any moment, in any context."""
        tokens: dict[str, Any] = {field: counts.get(unit, 0) for unit, field in TOKENS.items()}
        return Usage(
            provider=model.provider,
            model=name,
            service_tier=self.random.choice(CONTEXTS),
            batch=self.random.random() < 0.3,
            occurred_at=self.moment(model.entry),
            total_tokens=tokens["prompt_tokens"] + tokens["completion_tokens"],
            units={unit: count for unit, count in counts.items() if count and unit not in TOKENS},
            **tokens,
        )


def _edges(entry: Entry) -> list[datetime]:
    """When its rates begin or end: on the days, and at the hours of some day."""
    parts = (*entry.periods, *entry.variants)
    days = {each.since for each in parts if each.since}
    hours = {f"2026-10-31T{clock}" for each in parts for clock in each.daily or ()}
    return [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in sorted(days | hours)]

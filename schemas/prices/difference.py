"""What differs between two price books: models added, removed and changed, and discounts."""

from collections.abc import Iterator
from dataclasses import dataclass

from usagepipe.schemas.prices.book import PriceBook
from usagepipe.schemas.prices.document import Document
from usagepipe.schemas.prices.wording import (
    facts_of_discounts,
    facts_of_entry,
    facts_of_provider,
)

Facts = dict[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One fact that differs. `old` or `new` is None if one of the books does not have it."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A model that differs, or what else does.

    `model` is empty for a provider itself. `provider` is empty for a model of every provider.
    """

    provider: str
    model: str
    changes: tuple[Change, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.provider, self.model


@dataclass(frozen=True, slots=True)
class Difference:
    """The way from one book to another. `discounts` and `units` are changes of the whole book."""

    added: tuple[Changed, ...]
    removed: tuple[Changed, ...]
    changed: tuple[Changed, ...]
    discounts: tuple[Change, ...]
    units: tuple[Change, ...]

    def __bool__(self) -> bool:
        return any((self.added, self.removed, self.changed, self.discounts, self.units))


def compare(old: PriceBook, new: PriceBook) -> Difference:
    """What `new` has that `old` does not have, or has otherwise, and the reverse.

    Books of different versions with an empty difference try their entries in another order.
    """
    before, after = _models(old.document), _models(new.document)
    keys = sorted(before.keys() | after.keys())
    every = [Changed(*key, _changes(before.get(key, {}), after.get(key, {}))) for key in keys]
    differing = [each for each in every if each.changes]
    return Difference(
        added=tuple(each for each in differing if each.key not in before),
        removed=tuple(each for each in differing if each.key not in after),
        changed=tuple(each for each in differing if each.key in before and each.key in after),
        discounts=_changes(facts_of_discounts(old.document), facts_of_discounts(new.document)),
        units=_changes(_units(old.document), _units(new.document)),
    )


def _models(document: Document) -> dict[tuple[str, str], Facts]:
    """The facts of each model by provider and name; the name "" is the provider itself.

    A model of the operator's that replaces another is there twice. The entry that replaces matches
    more names, and comes last.
    """
    found = {(each.id, ""): facts_of_provider(each) for each in document.providers}
    for provider, entry in document.entries():
        found[provider, entry.id.lower()] = facts_of_entry(entry, document.units)
    return {key: facts for key, facts in found.items() if facts}


def _units(document: Document) -> Facts:
    return {
        name: f"{unit.rate_name} for {unit.per:,}; "
        + ", ".join(map(" ".join, sorted(unit.dimensions.items())))
        for name, unit in document.units.items()
    }


def _changes(old: Facts, new: Facts) -> tuple[Change, ...]:
    return tuple(_differing(old, new))


def _differing(old: Facts, new: Facts) -> Iterator[Change]:
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield Change(name, old.get(name), new.get(name))

"""Puts the models of a price file into a book.

A model that has the id of an entry replaces it, under every name that the entry matches. Another
model is added, and preferred to what was there: single names first, then names with a star.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from usagepipe.schemas.prices.document import (
    Clause,
    Discount,
    Document,
    Entry,
    Provider,
    Reference,
)
from usagepipe.schemas.prices.lookup import Lookup
from usagepipe.schemas.prices.yaml_models import FileModel


@dataclass(frozen=True, slots=True)
class Targets:
    """Reads what `same_as` names."""

    providers: frozenset[str]
    models: frozenset[str]  # of every provider

    def reference(self, text: str) -> Reference:
        """The entry that `PROVIDER/MODEL` or `MODEL` names: a model's name may have a slash."""
        provider, _, model = text.partition("/")
        if model and provider in self.providers and text not in self.models:
            return Reference(provider=provider, model=model)
        return Reference(provider="", model=text)


def targets_of(base: Document, models: Iterable[FileModel]) -> Targets:
    """What the models of the file can name."""
    named = {model.provider for model in models if model.provider}
    every = {model.name for model in models if not model.provider}
    return Targets(frozenset(named | {each.id for each in base.providers}), frozenset(every))


def with_models(
    base: Document, models: Collection[FileModel], discounts: Iterable[Discount], targets: Targets
) -> Document:
    """`base` with these models and discounts. Their order in the file does not count."""
    by_provider: dict[str, list[FileModel]] = {}
    for model in models:
        by_provider.setdefault(model.provider, []).append(model)
    every = by_provider.pop("", [])
    known, lookup = {provider.id for provider in base.providers}, Lookup(base)
    new = [_new_provider(name, lookup) for name in sorted(by_provider.keys() - known)]
    return Document(
        format=base.format,
        units=base.units,
        providers=tuple(
            _changed(provider, by_provider.get(provider.id, []), targets)
            for provider in (*base.providers, *new)
        ),
        models=(*_added(every, targets), *base.models),
        discounts=(*sorted(discounts, key=_owner), *base.discounts),
    )


def _new_provider(name: str, lookup: Lookup) -> Provider:
    """A provider that the base does not have under this id, but may know under another."""
    other = lookup.provider_of(name, "")
    return Provider(id=name, same_as=other.id if other else "")


def _changed(provider: Provider, models: Sequence[FileModel], targets: Targets) -> Provider:
    if not models:
        return provider
    names = {model.name: model for model in models}
    replaced = tuple(
        _entry(names[entry.id.lower()], targets, entry) if entry.id.lower() in names else entry
        for entry in provider.models
    )
    own = (*_added(models, targets), *provider.own)
    return provider.model_copy(update={"own": own, "models": replaced})


def _added(models: Iterable[FileModel], targets: Targets) -> list[Entry]:
    ordered = sorted(models, key=lambda model: (model.prefix is not None, model.name))
    return [_entry(model, targets) for model in ordered]


def _entry(model: FileModel, targets: Targets, old: Entry | None = None) -> Entry:
    """The entry of `model`, in the place of `old` and for the same names."""
    name = model.name
    clause = Clause(equals=name) if model.prefix is None else Clause(starts_with=model.prefix)
    return Entry(
        id=old.id if old else name,
        match=old.match if old else clause,
        own=True,
        same_as=targets.reference(model.same_as) if model.same_as else None,
        periods=model.periods,
        variants=model.variants,
    )


def _owner(discount: Discount) -> tuple[str, str, str]:
    return discount.provider, discount.customer, discount.since or ""

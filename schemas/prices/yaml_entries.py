"""Puts the models of a price file into a book.

A model that has the id of an entry replaces it, under every name that the entry matches. Another
model is added, and preferred to what was there: single names first, then names with a star.
"""

from collections.abc import Iterable, Sequence
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
from usagepipe.schemas.prices.yaml_models import FileModel, PriceFile


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


def targets_of(base: Document, file: PriceFile) -> Targets:
    """What the models of the file can name."""
    ids = {each.id for each in base.providers} | {each.name for each in file.providers}
    ids |= {model.provider for model in file.models if model.provider}
    every = {model.name for model in file.models if not model.provider}
    return Targets(frozenset(ids), frozenset(every))


def with_file(base: Document, file: PriceFile) -> Document:
    """`base` with the items of the file, whose order does not count."""
    targets = targets_of(base, file)
    by_provider: dict[str, list[FileModel]] = {}
    for model in file.models:
        by_provider.setdefault(model.provider, []).append(model)
    every = by_provider.pop("", [])
    aliases = {each.name: each.same_as for each in file.providers}
    known, lookup = {provider.id for provider in base.providers}, Lookup(base)
    new = [
        Provider(id=name, same_as=aliases.get(name) or _other_name(name, lookup))
        for name in sorted((by_provider.keys() | aliases.keys()) - known)
    ]
    discounts = [each.discount for each in file.discounts]
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


def _other_name(name: str, lookup: Lookup) -> str:
    """The id of the provider that the base takes this name for, "" if there is none."""
    other = lookup.provider_of(name, "")
    return other.id if other else ""


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

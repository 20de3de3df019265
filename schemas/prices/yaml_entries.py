"""Puts the models of a price file into a book.

A model that has the id of an entry replaces it, under every name that the entry matches. Another
model is added, and preferred to what was there: single names first, then names with a star.
"""

from collections.abc import Collection, Iterable, Sequence

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


def with_models(
    base: Document, models: Iterable[FileModel], discounts: Iterable[Discount]
) -> Document:
    """`base` with these models and discounts. Their order in the file does not count."""
    by_provider: dict[str, list[FileModel]] = {}
    for model in models:
        by_provider.setdefault(model.provider, []).append(model)
    every = by_provider.pop("", [])
    ids = [provider.id for provider in base.providers]
    new = [_new_provider(name, base) for name in sorted(by_provider.keys() - set(ids))]
    ids += [provider.id for provider in new]
    return Document(
        format=base.format,
        units=base.units,
        providers=tuple(
            _changed(provider, by_provider.get(provider.id, []), ids)
            for provider in (*base.providers, *new)
        ),
        models=(*_added(every, ids), *base.models),
        discounts=(*sorted(discounts, key=_owner), *base.discounts),
    )


def _new_provider(name: str, base: Document) -> Provider:
    """A provider that `base` does not have under this id, but may know under another."""
    other = Lookup(base).provider_of(name, "")
    return Provider(id=name, same_as=other.id if other else "")


def _changed(provider: Provider, models: Sequence[FileModel], ids: Collection[str]) -> Provider:
    if not models:
        return provider
    names = {model.name: model for model in models}
    replaced = tuple(
        _entry(names[entry.id.lower()], ids, entry) if entry.id.lower() in names else entry
        for entry in provider.models
    )
    own = (*_added(models, ids), *provider.own)
    return provider.model_copy(update={"own": own, "models": replaced})


def _added(models: Iterable[FileModel], ids: Collection[str]) -> list[Entry]:
    ordered = sorted(models, key=lambda model: (model.prefix is not None, model.name))
    return [_entry(model, ids) for model in ordered]


def _entry(model: FileModel, ids: Collection[str], old: Entry | None = None) -> Entry:
    """The entry of `model`, in the place of `old` and for the same names."""
    name = model.name
    clause = Clause(equals=name) if model.prefix is None else Clause(starts_with=model.prefix)
    return Entry(
        id=old.id if old else name,
        match=old.match if old else clause,
        own=True,
        same_as=reference_of(model.same_as, ids) if model.same_as else None,
        periods=model.periods,
        variants=model.variants,
    )


def reference_of(text: str, ids: Collection[str]) -> Reference:
    """What `PROVIDER/MODEL` or `MODEL` names: names of models may have a slash, too."""
    provider, _, model = text.partition("/")
    if model and provider in ids:
        return Reference(provider=provider, model=model)
    return Reference(provider="", model=text)


def _owner(discount: Discount) -> tuple[str, str, str]:
    return discount.provider, discount.customer, discount.since or ""

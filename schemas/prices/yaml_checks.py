"""Checks what the items of a price file say about each other, and about the book."""

from collections.abc import Sequence

from usagepipe.schemas.prices.document import Document, Reference
from usagepipe.schemas.prices.lookup import MAX_ALIASES, Lookup
from usagepipe.schemas.prices.yaml_entries import Targets, targets_of
from usagepipe.schemas.prices.yaml_models import FileDiscount, FileModel, PriceFile
from usagepipe.schemas.prices.yaml_nodes import Problems


def check_file(file: PriceFile, base: Document, document: Document, problems: Problems) -> None:
    """Everything that the items of `file`, which made `document` of `base`, must agree on."""
    check_providers(file, base, problems)
    check_names(file.models, problems)
    check_aliases(file.models, targets_of(base, file), document, problems)
    check_discounts(file.discounts, document, problems)


def check_providers(file: PriceFile, base: Document, problems: Problems) -> None:
    """Another name of a provider is new, and what it names is a provider of the book."""
    ids = {provider.id for provider in base.providers}
    other_names = {each.name: each for each in file.providers}
    known = (ids | {model.provider for model in file.models if model.provider}) - set(other_names)
    for each in file.providers:
        if each.name in ids:
            problems.add(each.node, f"the book already has a provider {each.name}")
        if other_names[each.name] is not each:
            problems.add(each.node, f"the provider {each.name} is named twice")
        if each.same_as not in known:
            problems.add(each.node, f"the book has no provider {each.same_as}")


def check_names(models: Sequence[FileModel], problems: Problems) -> None:
    """No model of a provider may have two prices."""
    seen: dict[tuple[str, str], FileModel] = {}
    for model in models:
        first = seen.setdefault((model.provider, model.name), model)
        if first is not model:
            _add_conflict(model, first, problems)
    starred = sorted(
        (model for model in seen.values() if model.prefix is not None),
        key=lambda model: (model.provider, model.prefix),
    )
    # In this order, the names that a name contains follow it directly.
    widest = None
    for model in starred:
        if widest is not None and _contains(widest, model):
            later, first = sorted((widest, model), key=_line, reverse=True)
            _add_conflict(later, first, problems)
        else:
            widest = model


def _contains(widest: FileModel, model: FileModel) -> bool:
    return widest.provider == model.provider and model.name.startswith(widest.name[:-1])


def _add_conflict(model: FileModel, first: FileModel, problems: Problems) -> None:
    whom = f"the provider {model.provider}" if model.provider else "every provider"
    what = model.name if model.name == first.name else f"{model.name} and {first.name}"
    problems.add(
        model.node,
        f"{what}: two entries match the same model of {whom}; the other is in line {_line(first)}",
    )


def _line(item: FileModel) -> int:
    line: int = item.node.start_mark.line
    return line + 1


def check_aliases(
    models: Sequence[FileModel], targets: Targets, document: Document, problems: Problems
) -> None:
    """What `same_as` names must have a price."""
    lookup = Lookup(document)
    for model in models:
        if model.same_as and model.same_as_node:
            target = targets.reference(model.same_as)
            if lookup.find(target.provider, target.model) is None:
                problems.add(model.same_as_node, _alias_problem(model, target, lookup))


def _alias_problem(model: FileModel, target: Reference, lookup: Lookup) -> str:
    names = [model.name]
    for _ in range(MAX_ALIASES + 1):
        names.append("/".join(filter(None, (target.provider, target.model))))
        entry = lookup.entry_of(target.provider, target.model)
        if entry is None or entry.same_as is None:
            return f"same_as: the book has no price for {names[-1]}"
        target = entry.same_as
    return f"same_as leads back to itself or too far: {' -> '.join(names[:4])} -> …"


def check_discounts(
    discounts: Sequence[FileDiscount], document: Document, problems: Problems
) -> None:
    """Discounts are for providers of the book, and one begins at a time."""
    ids = {provider.id for provider in document.providers}
    lookup = Lookup(document)
    seen: dict[tuple[str, str, str | None], FileDiscount] = {}
    for each in discounts:
        provider = each.discount.provider
        if provider and provider not in ids:
            other = lookup.provider_of(provider, "")
            cure = f": it is {other.id} there" if other else ""
            problems.add(each.node, f"the book has no provider {provider}{cure}")
        key = (provider, each.discount.customer, each.discount.since)
        first = seen.setdefault(key, each)
        if first is not each:
            line = first.node.start_mark.line + 1
            problems.add(each.node, f"the discount of line {line} is for the same and begins then")

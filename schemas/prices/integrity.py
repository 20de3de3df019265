"""Checks that a price book holds together: what its parts name exists."""

from collections.abc import Iterator
from itertools import pairwise

from usagepipe.schemas.prices.document import Document, Entry, Rates, TieredRate
from usagepipe.schemas.prices.lookup import Lookup
from usagepipe.schemas.prices.usage import NORMAL_UNITS


def problems_of(document: Document) -> Iterator[str]:
    """One sentence for each problem of a document whose structure is right."""
    yield from (f"it has no unit {name}" for name in NORMAL_UNITS if name not in document.units)
    ids = [provider.id for provider in document.providers]
    yield from (f"it has the provider {each!r} twice" for each in set(ids) if ids.count(each) > 1)
    real = {provider.id for provider in document.providers if not provider.same_as}
    named = {provider.same_as for provider in document.providers if provider.same_as}
    yield from (f"it has no provider {each!r}" for each in named - real)
    lookup = Lookup(document)
    for provider, entry in document.entries():
        for problem in _problems(entry, document, lookup):
            yield f"{provider or 'every provider'}/{entry.id}: {problem}"


def _problems(entry: Entry, document: Document, lookup: Lookup) -> Iterator[str]:
    if entry.same_as is not None:
        target = entry.same_as
        if lookup.find(target.provider, target.model) is None:
            yield f"it has the prices of {target.provider}/{target.model}, which has none"
    elif not entry.periods:
        yield "it has no prices"
    for part in (*entry.periods, *entry.variants):
        yield from _problems_of_rates(part.rates, document)
    yield from (f"unknown unit {name}" for name in entry.minimums if name not in document.units)


def _problems_of_rates(rates: Rates, document: Document) -> Iterator[str]:
    for name, rate in rates.items():
        if name not in document.units:
            yield f"unknown unit {name}"
        if isinstance(rate, TieredRate):
            starts = [tier.above for tier in rate.tiers]
            if any(first >= second for first, second in pairwise(starts)):
                yield f"the tiers of {name} are not in ascending order"

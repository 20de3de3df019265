"""Finds the entry that prices a model of a provider, as the rules of genai-prices say.

The operator's entries come first: those of the provider, then those for every provider.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from usagepipe.schemas.prices.document import Document, Entry, Provider
from usagepipe.schemas.prices.matching import EntryIndex, Test, forms_of, test_of

MAX_ALIASES: Final = 10  # one after the other; the reader of a book refuses circles


@dataclass(frozen=True, slots=True)
class FoundEntry:
    """An entry, and how it was found.

    `provider` is whom the request is paid to; `owner` has the entry. They differ if the provider
    sells another one's models. `alias` is the entry that names this one.
    """

    provider: str
    owner: str
    entry: Entry
    has_variants: bool = True  # who sells another one's models offers none of its variants
    alias: Entry | None = None

    def asked(self, context: Mapping[str, str]) -> dict[str, str]:
        """The part of `context` that a variant asks for. The rest decides nothing."""
        variants = self.entry.variants if self.has_variants else ()
        return {
            name: value
            for name, value in context.items()
            if any(variant.when.get(name) == value for variant in variants)
        }


class Lookup:
    """The entries of a book, by provider and model."""

    def __init__(self, document: Document) -> None:
        self._providers = {each.id: each for each in document.providers}
        self._matches = [(test_of(p.match), p) for p in document.providers if p.match]
        self._by_model: list[tuple[Test, Provider]] = [
            (test_of(p.model_match), p) for p in document.providers if p.model_match
        ]
        self._own = {each.id: EntryIndex(each.own) for each in document.providers}
        self._models = {each.id: EntryIndex(each.models) for each in document.providers}
        self._every = EntryIndex(document.models)

    def provider_of(self, provider: str, model: str) -> Provider | None:
        """The book's provider for the name that an event has, or for its model if it has none."""
        name = provider.lower().strip()
        if not name:
            name = model.lower()
            return next((each for test, each in self._by_model if test(name)), None)
        if (known := self._providers.get(name)) is not None:
            return known
        return next((each for test, each in self._matches if test(name)), None)

    def find(self, provider: str, model: str) -> FoundEntry | None:
        """The entry that prices `model`, or None."""
        found = self._find(provider, model)
        alias: FoundEntry | None = None
        for _ in range(MAX_ALIASES):
            if found is None or (target := found.entry.same_as) is None:
                break
            alias = alias or found
            found = self._find(target.provider, target.model)
        if found is None or found.entry.same_as is not None:
            return None
        return found if alias is None else _renamed(alias, found)

    def entry_of(self, provider: str, model: str) -> Entry | None:
        """The entry of the model itself, which may name another one."""
        found = self._find(provider, model)
        return found.entry if found else None

    def _find(self, provider: str, model: str) -> FoundEntry | None:
        paid = self.provider_of(provider, model)
        found = (self._find_name(paid, provider, name) for name in forms_of(model))
        return next((each for each in found if each is not None), None)

    def _find_name(self, paid: Provider | None, provider: str, name: str) -> FoundEntry | None:
        if paid is not None and (entry := self._own[paid.id].find(name)) is not None:
            return FoundEntry(paid.id, paid.id, entry)
        if (entry := self._every.find(name)) is not None:
            return FoundEntry(paid.id if paid else provider.lower().strip(), "", entry)
        if paid is None:
            return None
        if paid.same_as:
            return self._find_name(self._providers.get(paid.same_as), provider, name)
        return self._offered(paid, name)

    def _offered(self, paid: Provider, name: str) -> FoundEntry | None:
        for owner in (paid.id, *paid.fallbacks):
            for index in (self._own.get(owner), self._models.get(owner)):
                if index is not None and (entry := index.find(name)) is not None:
                    return FoundEntry(paid.id, owner, entry, has_variants=owner == paid.id)
        return None


def _renamed(alias: FoundEntry, found: FoundEntry) -> FoundEntry:
    """`found` under the name of `alias`. The alias decides whom the request is paid to."""
    return replace(found, provider=alias.provider or found.provider, alias=alias.entry)

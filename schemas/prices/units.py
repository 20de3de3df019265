"""How units are parts of each other: a unit contains those that have all its dimensions and more.

An audio token read from the cache is part of the audio tokens, of the tokens read from the cache,
and of the input tokens.
"""

from collections.abc import Container, Iterable, Mapping

from usagepipe.schemas.prices.document import Unit


class Units:
    """The units of a book and their order."""

    def __init__(self, units: Mapping[str, Unit]) -> None:
        self.by_name = dict(units)
        self.per = {name: unit.per for name, unit in units.items()}
        self._by_dimensions = {
            frozenset(unit.dimensions.items()): name for name, unit in units.items()
        }
        sides = {name: unit.dimensions.items() for name, unit in units.items()}
        smallest_first = sorted(sides, key=lambda name: (len(sides[name]), name), reverse=True)
        self._wholes = {
            name: tuple(each for each in smallest_first if sides[each] < sides[name])
            for name in units
        }

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def parts_first(self, names: Iterable[str]) -> list[str]:
        """`names`, each part before what contains it."""
        return sorted(names, key=lambda name: len(self._wholes[name]), reverse=True)

    def parts_of(self, whole: str, names: Iterable[str]) -> list[str]:
        """Those of `names` that are parts of `whole`, and not `whole` itself."""
        return [name for name in names if whole in self._wholes[name]]

    def nearest(self, part: str, wholes: Container[str]) -> str | None:
        """`part` itself if it is in `wholes`, else the smallest of them that contains it."""
        if part in wholes:
            return part
        return next((name for name in self._wholes[part] if name in wholes), None)

    def joint(self, one: str, other: str) -> str | None:
        """The name of what is part of both, "" if it has none, None if nothing can be both."""
        mine, yours = self.by_name[one].dimensions, self.by_name[other].dimensions
        if any(yours.get(key, value) != value for key, value in mine.items()):
            return None
        return self._by_dimensions.get(frozenset((mine | yours).items()), "")

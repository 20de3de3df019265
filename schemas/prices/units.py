"""How units are parts of each other: a unit contains those that have all its dimensions and more.

An audio token read from the cache is part of the audio tokens, of the tokens read from the cache,
and of the input tokens.
"""

from collections.abc import Collection, Mapping

from usagepipe.schemas.prices.document import Unit


class Units:
    """The units of a book and their order."""

    def __init__(self, units: Mapping[str, Unit]) -> None:
        self.by_name = dict(units)
        self._dimensions = {name: each.dimensions.items() for name, each in units.items()}

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def depth(self, name: str) -> int:
        """How many dimensions it has: a part has more than its whole."""
        return len(self._dimensions[name])

    def contains(self, whole: str, part: str) -> bool:
        """Whether `part` is a part of `whole`, and not the same."""
        return self._dimensions[whole] < self._dimensions[part]

    def parts_of(self, whole: str, names: Collection[str]) -> list[str]:
        """Those of `names` that are parts of `whole`."""
        return [name for name in names if self.contains(whole, name)]

    def nearest(self, part: str, wholes: Collection[str]) -> str | None:
        """`part` itself if it is in `wholes`, else the smallest of them that contains it."""
        if part in wholes:
            return part
        containing = [name for name in wholes if self.contains(name, part)]
        return max(containing, key=lambda name: (len(self._dimensions[name]), name), default=None)

    def joint(self, one: str, other: str) -> str | None:
        """The name of what is part of both, "" if it has none, None if nothing can be both."""
        mine, yours = self.by_name[one].dimensions, self.by_name[other].dimensions
        if any(yours.get(key, value) != value for key, value in mine.items()):
            return None
        both = mine | yours
        return next((n for n, unit in self.by_name.items() if unit.dimensions == both), "")

"""Labels of metrics and counters that are bounded, because strangers choose their text."""

from typing import Final

from usagepipe.schemas.event import clip

OTHER: Final = "(other)"  # replaces every text beyond the limit


class BoundedLabels:
    """At most `limit` different texts of `chars` characters each; the rest becomes `OTHER`.

    Without the bounds, paths and model names could fill the memory. A lone surrogate in one of
    them would break `/metrics` for good, so it is replaced.
    """

    def __init__(self, limit: int, chars: int) -> None:
        self._limit = limit
        self._chars = chars
        self._known: set[str] = set()

    def of(self, text: str) -> str:
        """The label for `text`."""
        label = clip(text, self._chars)
        if label not in self._known:
            if len(self._known) >= self._limit:
                return OTHER
            self._known.add(label)
        return label

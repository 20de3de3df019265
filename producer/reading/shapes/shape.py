"""The interface of a shape: how to read usage from one family of payloads.

A shape holds no state: one object serves all answers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.units import Tree, units_in
from usagepipe.producer.reading.usage import Usage
from usagepipe.schemas.event import MAX_ID_CHARS

Fields = dict[str, Any]  # a JSON object: its values may be anything
# Paths in an answer: a name leads to True (its whole value), or to the names inside its value.
Paths = Mapping[str, Any]


class Shape(ABC):
    """One family: where its usage is in an answer, and which numbers include which."""

    # The names at the top of an answer that lead to its usage or its id. Only shapes whose names
    # an answer has are asked.
    places: ClassVar[frozenset[str]]

    # Those of `places` that lead to the id of a completion, in an event without usage.
    places_of_id: ClassVar[frozenset[str]] = frozenset()

    # All paths that the methods read. Of an answer that is too large to hold, nothing else is kept.
    paths: ClassVar[Paths]

    # Names or values of text: each event that this shape must see has one of them, in quotes. The
    # pre-filter skips all other events of a stream without parsing them.
    marks: ClassVar[tuple[str, ...]]

    # The names of the input and output counts that nearly every usage object has. If one is
    # positive, so is that side of the normal form.
    sides: ClassVar[tuple[str, str]]

    # Where other counts that the provider bills by are in a usage object (see `units.py`).
    billed: ClassVar[Tree] = {}

    @abstractmethod
    def usage(self, answer: Fields) -> Fields | None:
        """The usage object of an answer, or of one event of a stream. None: there is none."""

    @abstractmethod
    def normal(self, counts: Counts) -> Usage:
        """The normal form of a usage object, without the model."""

    def units(self, usage: Fields) -> dict[str, int]:
        """The counts of a usage object that the normal form does not hold, by unit."""
        return units_in(usage, self.billed) if self.billed else {}

    def tier(self, answer: Fields, usage: Fields) -> object:
        """The service tier that the answer reports with this usage, if it is text."""
        return None

    def merged(self, seen: Fields, later: Fields) -> Fields:
        """Combine two usage objects of one stream. Values are cumulative: never add them."""
        return later

    def part(self, answer: Fields) -> str | None:
        """The id of the completion that this event belongs to; "" if it has no id. None: it belongs
        to the current one. Usages of several completions add up; within one they are cumulative."""
        return None

    def begins(self, answer: Fields) -> bool:
        """Whether this event begins a completion: then the stream has not ended yet."""
        return False

    def is_next(self, earlier: Usage, later: Usage, ended: bool) -> bool:
        """Whether `later`, which has another id, belongs to another completion than `earlier`.

        Some servers give each chunk its own id. Within one completion the prompt stays the same and
        the output does not shrink.
        """
        if ended or not (earlier.prompt_tokens and later.prompt_tokens):
            return ended
        return (
            later.prompt_tokens != earlier.prompt_tokens
            or later.completion_tokens < earlier.completion_tokens
        )

    def ends(self, answer: Fields) -> bool:
        """Whether this event is the last of a stream: no usage can follow."""
        return False

    def closes(self, answer: Fields) -> bool:
        """Whether the usage in this event is final, though an end mark may still follow."""
        return False


def fields_at(answer: Fields, name: str, inner: str | None = None) -> Fields | None:
    """The object under `name`, or under `inner` in it. None: there is none."""
    found = answer.get(name)
    if inner is not None and isinstance(found, dict):
        found = found.get(inner)
    return found if isinstance(found, dict) else None


def items_of(answer: Fields, name: str) -> list[Fields]:
    """The objects in the list under `name`."""
    items = answer.get(name)
    return [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []


def id_at(answer: Fields, name: str) -> str | None:
    """The id under `name`, cut to the length of an id. None: there is none."""
    found = answer.get(name)
    return found[:MAX_ID_CHARS] if isinstance(found, str) and found else None

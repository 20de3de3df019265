"""What a family of payloads has to tell. A shape holds no state: one object serves all answers."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.usage import Usage
from usagepipe.schemas.event import MAX_ID_CHARS

Fields = dict[str, Any]  # a JSON object: its values are whatever a stranger wrote


class Shape(ABC):
    """One family: where its usage stands in an answer, and which numbers are parts of which."""

    # The names at the top of an answer under which its usage stands, or what has its id.
    places: ClassVar[frozenset[str]]

    # The counts of the input and of the output that nearly every usage object has. Where one is
    # positive, that side of the normal form is too.
    sides: ClassVar[tuple[str, str]]

    @abstractmethod
    def usage(self, answer: Fields) -> Fields | None:
        """The usage object of one JSON answer, or of one event of a stream; None: it has none."""

    @abstractmethod
    def normal(self, counts: Counts) -> Usage:
        """The normal form of a usage object, without the model's name."""

    def merged(self, seen: Fields, later: Fields) -> Fields:
        """What two usage objects of one stream say together. Values are cumulative: never added."""
        return later

    def part(self, answer: Fields) -> str | None:
        """The id of the completion that this event is of, "" where it has none: usages of several
        add up, within one they are cumulative. None: of the one that is under way."""
        return None

    def begins(self, answer: Fields) -> bool:
        """Whether this event begins a completion: the stream has not ended after all."""
        return False

    def is_next(self, earlier: Usage, later: Usage, ended: bool) -> bool:
        """Whether `later`, under another id, is of another completion than `earlier`.

        Some servers give each chunk an id of its own. Within one completion the prompt stays the
        same and the output does not shrink.
        """
        if ended or not (earlier.prompt_tokens and later.prompt_tokens):
            return ended
        return (
            later.prompt_tokens != earlier.prompt_tokens
            or later.completion_tokens < earlier.completion_tokens
        )

    def ends(self, answer: Fields) -> bool:
        """Whether this event is the last word of a stream: nothing of its usage can follow."""
        return False

    def closes(self, answer: Fields) -> bool:
        """Whether the usage of this event is final, though a mark of the end may still follow."""
        return False


def fields_at(answer: Fields, name: str, inner: str | None = None) -> Fields | None:
    """The object called `name`, or `inner` in it; None where there is anything else or nothing."""
    found = answer.get(name)
    if inner is not None and isinstance(found, dict):
        found = found.get(inner)
    return found if isinstance(found, dict) else None


def items_of(answer: Fields, name: str) -> list[Fields]:
    """The objects in the list called `name`."""
    items = answer.get(name)
    return [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []


def id_at(answer: Fields, name: str) -> str | None:
    """The id called `name`, within an event's bounds; None where there is none."""
    found = answer.get(name)
    return found[:MAX_ID_CHARS] if isinstance(found, str) and found else None

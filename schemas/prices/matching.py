"""Finds the entry of a model's name without trying every entry of a large book."""

import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import Final

from usagepipe.schemas.prices.document import Clause, Entry

Test = Callable[[str], bool]

# LiteLLM and OpenRouter write gpt-5.2-20251211 for gpt-5.2-2025-12-11.
_COMPACT_DATE: Final = re.compile(
    r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)", re.ASCII
)


def forms_of(model: str) -> tuple[str, ...]:
    """The names to look for, in this order: the model's own, and that with a dashed date."""
    name = model.lower()
    dashed = _COMPACT_DATE.sub(_dashed, name)
    return (name,) if dashed == name else (name, dashed)


def _dashed(found: re.Match[str]) -> str:
    year, month, day = found.groups()
    try:
        return f"-{date(int(year), int(month), int(day))}"
    except ValueError:  # 30 February
        return found[0]


def test_of(clause: Clause) -> Test:
    """The function that says whether a name, in lower case, meets `clause`."""
    match clause:
        case Clause(equals=str(text)):
            return text.__eq__
        case Clause(starts_with=str(text)):
            return lambda name: name.startswith(text)
        case Clause(ends_with=str(text)):
            return lambda name: name.endswith(text)
        case Clause(contains=str(text)):
            return lambda name: text in name
        case Clause(regex=str(text)):
            search = re.compile(text).search
            return lambda name: search(name) is not None
        case Clause(any_of=tuple(clauses)):
            tests = [test_of(each) for each in clauses]
            return lambda name: any(test(name) for test in tests)
    tests = [test_of(each) for each in clause.all_of or ()]
    return lambda name: all(test(name) for test in tests)


class EntryIndex:
    """The entries of one provider. The first one that matches a name has it."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)
        self._exact: dict[str, int] = {}
        self._prefixes: dict[str, int] = {}
        self._tests: list[tuple[int, Test]] = []
        for place, entry in enumerate(self._entries):
            self._add(place, entry.match)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})

    def _add(self, place: int, clause: Clause) -> None:
        if clause.any_of is not None:
            for each in clause.any_of:
                self._add(place, each)
        elif clause.equals is not None:
            self._exact.setdefault(clause.equals, place)
        elif clause.starts_with is not None:
            self._prefixes.setdefault(clause.starts_with, place)
        else:
            self._tests.append((place, test_of(clause)))

    def find(self, name: str) -> Entry | None:
        """The entry of `name`, which is in lower case."""
        end = len(self._entries)
        first = self._exact.get(name, end)
        for length in self._lengths:
            first = min(first, self._prefixes.get(name[:length], end))
        for place, test in self._tests:
            if place >= first:
                break
            if test(name):
                first = place
        return self._entries[first] if first < end else None

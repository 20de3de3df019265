"""The conservation check: every stage of the pipeline must have counted exactly what was sent.

It has no tolerance. A missing stage is a difference too: an empty database must not balance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Self

Number = int | Decimal


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over requests. `cost` is over the requests whose cost is known, in US dollars."""

    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cost: Decimal = Decimal(0)

    def plus(self, other: Self) -> Self:
        """The sums of both."""
        names = [field.name for field in fields(self)]
        return replace(self, **{n: getattr(self, n) + getattr(other, n) for n in names})

    def numbers(self) -> dict[str, Number]:
        """The sums by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Count:
    """What one place on the way has counted, or must have. Places know different things."""

    place: str
    numbers: dict[str, Number]


@dataclass(frozen=True, slots=True)
class Difference:
    """A number that is not what was sent. `found` None: the place did not count it at all."""

    place: str
    number: str
    sent: Number
    found: Number | None

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.place}: {self.number} is not there, {self.sent} were sent"
        gap = self.found - self.sent
        return f"{self.place}: {self.number} is {self.found}, {self.sent} were sent ({gap:+})"


def find_differences(expected: Sequence[Count], counted: Sequence[Count]) -> tuple[Difference, ...]:
    """Every number of every expected place that was counted otherwise or not at all."""
    by_place = {count.place: count.numbers for count in counted}
    return tuple(
        Difference(each.place, name, sent, found)
        for each in expected
        for name, sent in each.numbers.items()
        if (found := by_place.get(each.place, {}).get(name)) != sent
    )

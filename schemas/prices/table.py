"""Compiled rates: whole numbers over one denominator, so that a price is a sum of products.

A price is the sum of *parts*: tokens that are in exactly one class, times the rate of that class.
The counts of an event overlap (`cached_tokens` are part of `prompt_tokens`), so each part is a
difference of counts, and the price is a linear function of the counts.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from operator import mul, sub
from typing import Final

from usagepipe.schemas.prices.amounts import MONEY_UNITS
from usagepipe.schemas.prices.rates import AppliedRate
from usagepipe.schemas.prices.units import Units
from usagepipe.schemas.prices.usage import NORMAL_UNITS, Unpriced

# Kept per table. What events count is their producers' choice, and a shape of many units is large.
MAX_SHAPES: Final = 16
MAX_KEPT_UNITS: Final = 8
Row = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Units in one class. Their number is the sum of the event's counts times `row`."""

    unit: str
    rate: AppliedRate  # the unit's own, or that of the nearest unit that contains it
    numerator: int  # of the price of one unit
    row: Row

    def count(self, counts: Sequence[int]) -> int:
        """How many of the event's units are in this class, and in no other."""
        return sum(map(mul, self.row, counts))


@dataclass(frozen=True, slots=True)
class Shape:
    """How a table prices events that count the same units.

    `details` splits `parts` further, by units without a rate of their own. Their sums are equal.
    """

    counted: tuple[str, ...]  # the units of the counts
    parts: tuple[Part, ...] = ()
    details: tuple[Part, ...] = ()
    coefficients: Row = ()  # of the counts: the parts' numerators, added up
    differences: tuple[Row, ...] = ()  # rows of parts that contradictory counts make negative
    unrated: tuple[int, ...] = ()  # places of counts that must be 0
    refusal: Unpriced | None = None  # whatever the counts are

    def numerator(self, counts: Sequence[int]) -> int | Unpriced:
        """The price over the table's denominator, or why there is none."""
        if self.refusal is not None:
            return self.refusal
        for place in self.unrated:
            if counts[place]:
                return Unpriced.NO_RATE
        for row in self.differences:
            if sum(map(mul, row, counts)) < 0:
                return Unpriced.INCONSISTENT
        amount: int = sum(map(mul, self.coefficients, counts))
        return amount

    def culprits(self, counts: Sequence[int]) -> tuple[str, ...]:
        """The units that leave the event without a price."""
        if self.refusal is not None:
            return self.counted
        unrated = tuple(self.counted[place] for place in self.unrated if counts[place])
        return unrated or tuple(part.unit for part in self.parts if part.count(counts) < 0)

    def shown(self, counts: Sequence[int]) -> tuple[Part, ...]:
        """`details`, unless the counts of units without a rate contradict each other."""
        possible = all(part.count(counts) >= 0 for part in self.details)
        return self.details if possible else self.parts


class RateTable:
    """The rates of one entry at one time, for one context, tier and discount."""

    __slots__ = (
        "_numerators", "_rates", "_shapes", "_units", "cache_read", "cache_write",
        "denominator", "input", "lacks_input", "lacks_rates", "needs_usage", "output",
        "reasoning", "request",
    )  # fmt: skip

    def __init__(
        self, rates: Mapping[str, AppliedRate], units: Units, factor: Fraction = Fraction(1)
    ) -> None:
        self._units = units
        self._rates = rates
        self._shapes: dict[tuple[str, ...], Shape] = {}
        exact = {name: each.for_one * factor * MONEY_UNITS for name, each in rates.items()}
        self.denominator: Final = lcm(*(each.denominator for each in exact.values()))
        self._numerators = {name: int(each * self.denominator) for name, each in exact.items()}
        self._keep_normal()

    def _keep_normal(self) -> None:
        """The numbers for events that count nothing but the units of the normal form."""
        rated = {name: self._units.nearest(name, self._rates) for name in NORMAL_UNITS}
        numerators = [self._numerators[rate] if rate else 0 for rate in rated.values()]
        self.input, self.cache_read, self.cache_write = numerators[:3]
        self.output, self.reasoning, self.request = numerators[3:]
        self.lacks_input = rated["input_tokens"] is None
        self.lacks_rates = self.lacks_input or rated["output_tokens"] is None
        costly = any(number for unit, number in self._numerators.items() if unit != "requests")
        self.needs_usage = costly or self.lacks_rates

    def shape(self, names: tuple[str, ...]) -> Shape:
        """How events that count these units, besides those of the normal form, are priced."""
        found = self._shapes.get(names)
        if found is not None:
            return found
        if unknown := tuple(name for name in names if name not in self._units):
            return Shape(unknown, refusal=Unpriced.UNKNOWN_UNIT)
        if twice := tuple(name for name in names if name in NORMAL_UNITS):
            return Shape(twice, refusal=Unpriced.INCONSISTENT)
        found = self._compile(names)
        if len(names) <= MAX_KEPT_UNITS:
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
            self._shapes[names] = found
        return found

    def _compile(self, names: tuple[str, ...]) -> Shape:
        counted = (*NORMAL_UNITS, *names)
        rated = {name: self._units.nearest(name, self._rates) for name in counted}
        # What has the rate of another counted unit is counted there.
        kept = [
            name for name, rate in rated.items() if rate and (rate == name or rate not in rated)
        ]
        parts = self._parts(kept, counted, rated)
        places = range(len(counted))
        return Shape(
            counted,
            parts,
            details=self._parts([name for name in counted if rated[name]], counted, rated),
            coefficients=tuple(sum(p.numerator * p.row[place] for p in parts) for place in places),
            differences=tuple(part.row for part in parts if min(part.row) < 0),
            unrated=tuple(p for p in places if not rated[counted[p]] and counted[p] != "requests"),
        )

    def _parts(
        self, names: Collection[str], counted: Sequence[str], rated: Mapping[str, str | None]
    ) -> tuple[Part, ...]:
        """Each unit without those of `names` that are parts of it, in the order of `names`."""
        rows: dict[str, Row] = {}
        for name in self._units.parts_first(names):
            row = [int(each == name) for each in counted]
            for part in self._units.parts_of(name, names):
                row = list(map(sub, row, rows[part]))
            rows[name] = tuple(row)
        return tuple(self._part(name, rated[name] or name, rows[name]) for name in names)

    def _part(self, name: str, rate: str, row: Row) -> Part:
        return Part(name, self._rates[rate], self._numerators[rate], row)

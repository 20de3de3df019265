"""All rate tables of one entry for one context and customer: by date, hour and size of prompt."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction

from usagepipe.schemas.prices.document import Dated, Discount, Entry, TieredRate
from usagepipe.schemas.prices.lookup import FoundEntry
from usagepipe.schemas.prices.rates import discount_at, rates_at, utc_text
from usagepipe.schemas.prices.table import RateTable
from usagepipe.schemas.prices.units import Units


class Plan:
    """Finds the table for a moment and a prompt. `only` is it, where there is but one.

    A day and an hour fall between two of the moments at which a rule begins or ends. Between them
    every event has the same rules, so one table is made for each such pair and each tier.
    """

    __slots__ = (
        "_clocks", "_context", "_days", "_discounts", "_starts", "_tables", "_units", "found",
        "only",
    )  # fmt: skip

    def __init__(
        self, found: FoundEntry, context: Mapping[str, str], discounts: list[Discount], units: Units
    ) -> None:
        self.found = found
        self._context = context
        self._discounts = discounts
        self._units = units
        entry = found.entry
        dated: list[Dated] = [*entry.periods, *entry.variants]
        days = {each.since for each in dated} | {each.since for each in discounts}
        self._days = sorted(day for day in days if day)
        self._clocks = sorted({clock for each in dated for clock in each.daily or ()})
        self._starts = _tier_starts(entry)
        self._tables: dict[int, RateTable] = {}
        varies = self._days or self._clocks or self._starts
        self.only = None if varies else self.table_at("", 0)

    def table_at(self, at: datetime | str, prompt: int) -> RateTable:
        """The table for events of this moment with so many prompt tokens."""
        place = bisect_left(self._starts, prompt)
        if self._days or self._clocks:
            at = utc_text(at)
            hours = bisect_right(self._clocks, at[11:])
            days = bisect_right(self._days, at)
            place += (len(self._starts) + 1) * (hours + (len(self._clocks) + 1) * days)
        table = self._tables.get(place)
        if table is None:
            table = self._tables[place] = self._compile(utc_text(at), prompt)
        return table

    def discount_at(self, at: datetime | str) -> Discount | None:
        """The discount that counts at this moment."""
        return discount_at(self._discounts, utc_text(at))

    def _compile(self, at: str, prompt: int) -> RateTable:
        rates = rates_at(self.found.entry, at, self._context, prompt, self._units.per)
        discount = self.discount_at(at)
        return RateTable(rates, self._units, Fraction(discount.negotiated if discount else 1))


def _tier_starts(entry: Entry) -> list[int]:
    rates = [rate for each in (*entry.periods, *entry.variants) for rate in each.rates.values()]
    tiers = [tier.above for rate in rates if isinstance(rate, TieredRate) for tier in rate.tiers]
    return sorted(set(tiers))

"""Decides the cost of each row: the event's own, or the price book's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final, Self

import structlog

from usagepipe.schemas.event import COST_DECIMALS
from usagepipe.schemas.prices import PriceBook, Pricer
from usagepipe.schemas.settings.storage import CostRule

log = structlog.get_logger()

_SEPARATOR: Final = ":"
_MONEY_UNITS: Final = f"e-{COST_DECIMALS}"  # takes half the time of a text with a decimal point


@dataclass(frozen=True, slots=True)
class PricingName:
    """Everything that decides the costs of a batch, as it is announced."""

    rule: CostRule
    version: str  # of the price book; empty if the rule needs none

    def encode(self) -> str:
        """Its text in an announcement. Empty: events keep their own costs."""
        return f"{self.rule}{_SEPARATOR}{self.version}" if self.version else ""

    @classmethod
    def decode(cls, text: str) -> Self:
        """The name that `encode` wrote.

        Raises:
            ValueError: it is not one.
        """
        if not text:
            return cls(CostRule.REPORTED_ONLY, "")
        rule, _, version = text.partition(_SEPARATOR)
        if not version:
            raise ValueError("price version")
        return cls(CostRule(rule), version)


class Pricing:
    """Sets the cost columns of rows by one rule and one price book."""

    def __init__(self, rule: CostRule, pricer: Pricer | None = None) -> None:
        """`pricer` may be None only for `REPORTED_ONLY`, which uses none."""
        self.rule = rule
        self._pricer = pricer = None if rule is CostRule.REPORTED_ONLY else pricer
        self.name = PricingName(self.rule, pricer.version if pricer else "")
        self._failures: set[str] = set()  # places in the code
        self.book: PriceBook | None = pricer.book if pricer else None

    def apply(self, rows: Iterable[Any]) -> None:
        """Set `cost`, `cost_source`, `reported_cost` and `price_version` of each row.

        A cost that is priced already, as in an import, stays as it is. Never raises: an event that
        the book cannot price because of a mistake in it, or in the code, is unpriced.
        """
        version, own_counts = self.name.version, self.rule is not CostRule.PRICES_ONLY
        asked = [row for row in rows if row.cost is None or self._asks_book(row)]
        amounts = self._amounts(asked)
        if self.rule is CostRule.PRICES_FIRST:
            amounts = _without_included_parts(asked, amounts)
        for row, amount in zip(asked, amounts, strict=True):
            if type(amount) is int:
                row.cost = str(amount) + _MONEY_UNITS
                row.cost_source = "priced"
                row.price_version = version
            elif row.cost is None:
                row.cost_source = ""
            elif not own_counts:
                row.cost, row.cost_source, row.price_version = None, "", ""

    def _asks_book(self, row: Any) -> bool:
        """Note the own cost of a row. Whether the book decides about its cost all the same."""
        if row.cost_source == "priced":
            return False
        row.cost_source = row.cost_source or "stamped"
        row.reported_cost = row.cost
        return self.rule in (CostRule.PRICES_FIRST, CostRule.PRICES_ONLY)

    def _amounts(self, rows: Sequence[Any]) -> Sequence[object]:
        """The price of each row, or anything else where there is none."""
        if self._pricer is None:
            return [None] * len(rows)
        try:
            return self._pricer.prices(rows)
        except Exception:  # one of them: find it
            return [self._amount(self._pricer, row) for row in rows]

    def _amount(self, pricer: Pricer, row: Any) -> object:
        try:
            return pricer.price(row)
        except Exception as error:
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        """Log the first error of each kind, without its text: it may quote the event."""
        frame = extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        if place not in self._failures:
            self._failures.add(place)
            kind = type(error).__name__
            log.error("pricing_failed", version=self.name.version, error=kind, place=place)


def _without_included_parts(rows: Sequence[Any], amounts: Sequence[object]) -> list[object]:
    """The price of each row; none for a part whose request keeps its own cost, which includes it.

    A producer reports the cost of the whole request with its main row, and 0 with the parts. So if
    the main row is priced, the 0 of a part without a price is taken away: its cost is not known.
    """
    kept = {
        (row.producer_id, row.sequence)
        for row, amount in zip(rows, amounts, strict=True)
        if not row.part and row.cost is not None and type(amount) is not int
    }
    found = list(amounts)
    for place, row in enumerate(rows):
        if row.part and row.cost is not None and not row.cost.strip("0."):
            main = row.producer_id, (row.sequence or 0) - row.part
            if main in kept:
                found[place] = None
            elif type(found[place]) is not int:
                row.cost = None
    return found


OWN_COSTS: Final = Pricing(CostRule.REPORTED_ONLY)

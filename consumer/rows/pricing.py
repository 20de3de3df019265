"""Decides the cost of each row: the event's own, or the price book's."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final, Self

import structlog

from usagepipe.schemas.prices import PriceBook, Pricer, cost_text
from usagepipe.schemas.settings.storage import CostRule

log = structlog.get_logger()

_SEPARATOR: Final = ":"


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
        pricer, rule = self._pricer, self.rule
        price = pricer.price if pricer else None
        own_first = rule is CostRule.REPORTED_FIRST
        for row in rows:
            if row.cost is not None:
                if row.cost_source == "priced":
                    continue
                row.cost_source = row.cost_source or "stamped"
                row.reported_cost = row.cost
                if own_first:
                    continue
            elif row.cost_source:
                row.cost_source = ""
            if pricer is None or price is None:
                continue
            amount: object
            try:
                amount = price(row)
            except Exception as error:
                self._failed(error)
                amount = None
            if type(amount) is int:
                row.cost = cost_text(amount)
                row.cost_source = "priced"
                row.price_version = pricer.version
            elif rule is CostRule.PRICES_ONLY:
                row.cost, row.cost_source, row.price_version = None, "", ""

    def _failed(self, error: Exception) -> None:
        """Log the first error of each kind, without its text: it may quote the event."""
        frame = extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        if place not in self._failures:
            self._failures.add(place)
            kind = type(error).__name__
            log.error("pricing_failed", version=self.name.version, error=kind, place=place)


OWN_COSTS: Final = Pricing(CostRule.REPORTED_ONLY)

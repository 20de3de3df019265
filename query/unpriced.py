"""Finds the models that were used without a price, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from usagepipe.query.counts import Counts
from usagepipe.query.periods import TimeRange
from usagepipe.query.questions import ask_totals
from usagepipe.query.statements import statement
from usagepipe.query.store import Store
from usagepipe.schemas.clickhouse.client import WHOLE_ANSWERS
from usagepipe.schemas.prices import Pricer, Unpriced
from usagepipe.schemas.prices.usage import NORMAL_UNITS, counts_of

MAX_GROUPS: Final = 100_000  # read at once; the names of models are their callers' choice
PRICED_NOW: Final = "priced_now"
_PRICED_NOW: Final = "The active book has a price: the events were stored without it."


@dataclass(slots=True)
class UnpricedModel:
    """Events of one model, as it was recorded, that have no price for the same reason.

    `reason` is None if the active book has a price for them now. `culprits` are the units without
    a rate. `units` are all units that the events count.
    """

    provider: str
    model: str
    reason: Unpriced | None
    culprits: tuple[str, ...]
    requests: int
    tokens: int
    newest_at: datetime
    units: frozenset[str]

    @property
    def word(self) -> str:
        """The reason for programs."""
        return str(self.reason or PRICED_NOW)

    @property
    def sentence(self) -> str:
        """The reason for a reader."""
        text = self.reason.sentence if self.reason else _PRICED_NOW
        return f"{text} ({', '.join(self.culprits)})" if self.culprits else text


@dataclass(frozen=True, slots=True)
class UnpricedUsage:
    """All usage of a period without a price.

    `left_out` counts the requests that only the rollups still have: raw events are kept for a time,
    and of very many models the rarest are not read.
    """

    models: tuple[UnpricedModel, ...]
    left_out: int


def unpriced_usage(store: Store, span: TimeRange, pricer: Pricer) -> UnpricedUsage:
    """The models without a price in `span`, those with the most tokens first. Blocks."""
    from_ms, to_ms = span.milliseconds
    parameters = {"from_ms": from_ms, "to_ms": to_ms, "limit": MAX_GROUPS}
    rows = store.rows(statement("unpriced"), parameters, WHOLE_ANSWERS)
    found: dict[tuple[object, ...], UnpricedModel] = {}
    for row in rows:
        _add(found, _model(row, pricer))
    models = sorted(found.values(), key=lambda each: (-each.tokens, -each.requests, each.model))
    counted = sum(each.requests for each in models)
    every = ask_totals(store, span, {}).unpriced_requests
    return UnpricedUsage(tuple(models), left_out=max(every - counted, 0))


def _model(row: Mapping[str, Any], pricer: Pricer) -> UnpricedModel:
    names = {each.name for each in fields(Counts)} - {"occurred_at"}
    newest = Counts(occurred_at=row["newest_at"], **{name: row[name] for name in names})
    explanation = pricer.explain(newest)
    counted = zip(NORMAL_UNITS, counts_of(newest), strict=True)
    normal = {name for name, count in counted if count and name != "requests"}
    return UnpricedModel(
        provider=row["provider"],
        model=row["model"],
        reason=explanation.reason,
        culprits=explanation.culprits,
        requests=row["unpriced"],
        tokens=row["tokens"],
        newest_at=row["newest_at"],
        units=frozenset(normal | newest.units.keys()),
    )


def _add(found: dict[tuple[object, ...], UnpricedModel], model: UnpricedModel) -> None:
    """Merge it with what is the same to a reader."""
    key = (model.provider, model.model, model.reason, model.culprits)
    known = found.setdefault(key, model)
    if known is not model:
        known.requests += model.requests
        known.tokens += model.tokens
        known.newest_at = max(known.newest_at, model.newest_at)
        known.units |= model.units

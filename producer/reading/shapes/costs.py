"""Reads the costs that providers and gateways report. Exact: never made from a float.

All are US dollars. An amount in another currency, or an invalid one, is unknown.
"""

from decimal import Decimal
from typing import Final

from usagepipe.producer.reading.shapes.shape import Fields, fields_at
from usagepipe.schemas.event import MAX_COST, MAX_TOKENS

TICKS: Final = "cost_in_usd_ticks"  # xAI
ESTIMATED: Final = "estimated_cost"  # DeepInfra
NAMES: Final = frozenset({"cost", TICKS, ESTIMATED})
TICK_EXPONENT: Final = -10  # a dollar is 10^10 ticks
MAX_TICKS: Final = int(MAX_COST * 10**-TICK_EXPONENT)


def cost_in(usage: Fields) -> Decimal | None:
    """The cost in a usage object. None: unknown.

    With the customer's own key (`is_byok`), `cost` is the gateway's own charge. The provider
    charges `upstream_inference_cost` in addition, so the two are added. Without that, a cost of 0
    means unknown.
    """
    cost = _reported(usage)
    if usage.get("is_byok") is not True:
        return cost
    details = fields_at(usage, "cost_details") or {}
    upstream = _amount(details.get("upstream_inference_cost"))
    if upstream is None:
        return cost or None
    return upstream + (cost or 0)


def _reported(usage: Fields) -> Decimal | None:
    """OpenRouter's, LiteLLM's and others' `cost`, also as an object (Perplexity); else ticks."""
    cost = usage.get("cost")
    if isinstance(cost, dict):
        return _amount(cost.get("total_cost")) if cost.get("currency", "USD") == "USD" else None
    if cost is None and usage.get(TICKS) is not None:
        return _ticks(usage[TICKS])
    return _amount(usage.get(ESTIMATED) if cost is None else cost)


def _amount(cost: object) -> Decimal | None:
    if type(cost) is int:
        cost = Decimal(cost) if abs(cost) <= MAX_TOKENS else None
    known = isinstance(cost, Decimal) and cost.is_finite() and 0 <= cost < MAX_COST
    return cost if known else None  # type: ignore[return-value]


def _ticks(ticks: object) -> Decimal | None:
    if isinstance(ticks, float | Decimal) and 0 <= ticks < MAX_TICKS and ticks == int(ticks):
        ticks = int(ticks)  # some gateways write 31.0
    if type(ticks) is not int or not 0 <= ticks < MAX_TICKS:
        return None
    return Decimal(ticks).scaleb(TICK_EXPONENT)

"""The explanation of a cost as one JSON object."""

from decimal import Decimal
from typing import Any

from usagepipe.cli.explain_amounts import exact_text, money_text
from usagepipe.query.explanations import ExplainedEvent
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.prices import PricedPart


def explained_fields(found: ExplainedEvent) -> dict[str, Any]:
    """The explanation for `json_text`. Amounts are text: a number would be read as a float."""
    return {
        "event": _event_fields(found.event),
        "rows": found.rows,
        "priced": found.is_priced,
        "proven": found.is_proven if found.is_priced else None,
        "book": _book_fields(found),
        "own_cost": _amount(found.own_cost),
        "difference": _amount(found.difference),
        "request": {
            "parts": [_part_fields(each) for each in found.parts],
            "cost": _amount(found.request_cost),
            "without_cost": sum(each.cost is None for each in found.parts),
        },
    }


def _event_fields(event: UsageEvent) -> dict[str, Any]:
    fields = event.model_dump(mode="json")
    return fields | {name: _amount(getattr(event, name)) for name in ("cost", "reported_cost")}


def _part_fields(event: UsageEvent) -> dict[str, Any]:
    return {
        "event_id": str(event.event_id),
        "part": event.part,
        "model": event.model,
        "cost": _amount(event.cost),
        "cost_source": event.cost_source,
    }


def _book_fields(found: ExplainedEvent) -> dict[str, Any]:
    explained = found.explanation
    reason, discount = explained.reason, explained.discount
    return {
        "version": explained.version,
        "reason": None if reason is None else str(reason),
        "sentence": None if reason is None else reason.sentence,
        "units": list(explained.culprits),
        "provider": explained.provider,
        "entry_provider": explained.owner,
        "entry": explained.entry,
        "alias": explained.alias,
        "own": explained.own,
        "context": dict(explained.context or {}),
        "discount": None if discount is None else discount.model_dump(mode="json"),
        "classes": [_class_fields(part) for part in explained.parts],
        "cost": _amount(found.book_cost),
    }


def _class_fields(part: PricedPart) -> dict[str, Any]:
    return {
        "unit": part.unit,
        "count": part.count,
        "rate": f"{part.rate:f}",
        "per": part.per,
        "rate_unit": part.rate_unit,
        "above": part.above,
        "since": part.rule.since,
        "daily": part.rule.daily,
        "variant": dict(part.variant),
        "amount": exact_text(part.amount),
    }


def _amount(cost: Decimal | None) -> str | None:
    return None if cost is None else money_text(cost)

"""What a request used, and books with the prices that a test needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from usagepipe.schemas.prices import PriceBook, builtin_book
from usagepipe.schemas.prices.document import (
    FORMAT,
    Clause,
    Document,
    Entry,
    Period,
    Provider,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Usage:
    """The fields of an event that decide its price."""

    provider: str = "acme"
    model: str = "m-1"
    service_tier: str = ""
    batch: bool = False
    customer_id: str = ""
    occurred_at: datetime | str = NOON
    part: int = 0
    failed: bool = False
    usage_quality: str = "complete"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    units: Mapping[str, int] = field(default_factory=dict)


def used(prompt: int = 0, completion: int = 0, **fields: Any) -> Usage:
    """A usage whose total is the sum of both."""
    total = fields.pop("total_tokens", prompt + completion)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total, **fields)


def entry(model: str = "m-1", rates: Mapping[str, Any] | None = None, **fields: Any) -> Entry:
    """An entry for `model` alone, with these rates of every time."""
    if rates is not None:
        fields["periods"] = (Period.model_validate({"rates": dict(rates)}),)
    return Entry(id=model, match=Clause(equals=model), **fields)


def book(*entries: Entry, **fields: Any) -> PriceBook:
    """A book with the provider acme, which has these entries."""
    acme = Provider(id="acme", models=entries)
    units = builtin_book().document.units
    return PriceBook(Document(format=FORMAT, units=units, providers=(acme,), **fields))

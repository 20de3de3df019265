"""Puts one event together from what is known of a request: its course, its caller, its usage.

Text that a stranger can choose (a path, a header, a model's name in the answer) must never cost
the event: it is cut to the contract's length. Ids are never cut: half an id is another's id.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import ValidationError

from usagepipe.producer.reading.usage import COUNTS, Usage
from usagepipe.producer.watching.callers import Caller
from usagepipe.schemas.event import (
    COST_DECIMALS,
    MAX_COST,
    MAX_ID_CHARS,
    MAX_NAME_CHARS,
    MAX_TAG_KEY_CHARS,
    MAX_TAG_VALUE_CHARS,
    MAX_TAGS,
    UsageEvent,
    clip,
)

TOKEN_FIELDS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "usage_quality",
)

_LEAST_COST = Decimal(1).scaleb(-COST_DECIMALS)


class Course(NamedTuple):
    """How a request went, as seen from outside."""

    occurred_at: datetime
    endpoint: str
    request_id: str
    attempt: int
    requested_model: str
    served_model: str
    status_code: int
    failed: bool
    complete: bool  # the answer's last chunk was seen
    streaming: bool
    duration_ms: int
    ttft_ms: int | None
    trace: Mapping[str, str]  # see `trace_of`
    cost: Decimal | None = None  # from a header of a gateway
    price_version: str = ""  # of that cost


def event_of(
    course: Course, caller: Caller, stamp: Mapping[str, Any], usage: Usage | None, provider: str
) -> UsageEvent:
    """The event of a request. What the stamp tells wins over the answer's usage, all tokens at
    once and the rest field by field.

    Raises:
        pydantic.ValidationError: ids, stamped values or tags break the contract.
    """
    fields = _fields_of(course, caller)
    fields["provider"] = provider
    fields["model"] = course.served_model if usage is None else usage.model
    if "cost" not in stamp:
        fields |= _cost(course, usage)
    fields |= _tokens(course, stamp, usage)
    if stamp:
        fields.update((k, v) for k, v in stamp.items() if k not in TOKEN_FIELDS)
    for name in ("model", "requested_model"):
        if name in fields:
            fields[name] = clip(fields[name], MAX_ID_CHARS)
    cost = fields.get("cost")
    if isinstance(cost, Decimal) and cost.is_finite():  # what is no amount, the event refuses
        fields["cost"] = _rounded(cost)
    tags = {**caller.tags, **stamp.get("tags", {})}
    fields["tags"] = with_trace(_tags(tags) if tags else tags, course.trace)
    return UsageEvent.new(**fields)


def _tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    """`tags` within the contract's lengths: what a stranger may have written is cut."""
    return {
        clip(key, MAX_TAG_KEY_CHARS): clip(value, MAX_TAG_VALUE_CHARS)
        if isinstance(value, str)
        else value
        for key, value in tags.items()
    }


def wrong_fields(error: ValidationError) -> str:
    """Which fields of an event are wrong, for the log: never what stands in them."""
    return ", ".join(sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]}))


def has_tokens(stamp: Mapping[str, Any]) -> bool:
    """Whether a stamp tells the tokens. Zeros count: the handler knows."""
    return "prompt_tokens" in stamp or "completion_tokens" in stamp


def with_trace(tags: dict[str, str], trace: Mapping[str, str]) -> dict[str, str]:
    """`tags` with those of a trace, as far as the contract has room for more. Where the tags name
    a trace already, they stay: a span of another one would only mislead."""
    if not trace or "trace_id" in tags:
        return tags
    missing = [name for name in trace if name not in tags][: max(0, MAX_TAGS - len(tags))]
    return tags | {name: trace[name] for name in missing}


def _fields_of(course: Course, caller: Caller) -> dict[str, Any]:
    return {
        "occurred_at": course.occurred_at,
        "endpoint": clip(course.endpoint, MAX_NAME_CHARS),
        "request_id": course.request_id if len(course.request_id) <= MAX_ID_CHARS else "",
        "attempt": course.attempt,
        "requested_model": course.requested_model,
        "status_code": course.status_code,
        "failed": course.failed,
        "streaming": course.streaming,
        "duration_ms": course.duration_ms,
        "ttft_ms": course.ttft_ms,
        "user_id": caller.user_id,
        "user_name": clip(caller.user_name, MAX_NAME_CHARS),
        "api_key_id": caller.api_key_id,
        "api_key_name": clip(caller.api_key_name, MAX_NAME_CHARS),
        "source": caller.source or ("apikey" if caller.api_key_id else "web"),
        "virtual_key_id": caller.virtual_key_id,
        "team_id": caller.team_id,
        "customer_id": caller.customer_id,
    }


def _cost(course: Course, usage: Usage | None) -> dict[str, Any]:
    """What the answer's body reports, else what its header does, to the contract's decimals."""
    cost = None if usage is None else reported_cost(usage.cost)
    if cost is not None:
        return {"cost": cost}
    cost = reported_cost(course.cost)
    return {} if cost is None else {"cost": cost, "price_version": course.price_version}


def _tokens(course: Course, stamp: Mapping[str, Any], usage: Usage | None) -> dict[str, Any]:
    """The tokens from one place, never mixed of two, and how far they can be trusted."""
    if has_tokens(stamp):
        # Of an answer that was broken off the handler may have wanted to tell more.
        quality = "complete" if course.complete else "partial"
        tokens: dict[str, Any] = dict.fromkeys(TOKEN_FIELDS, 0) | {"usage_quality": quality}
        tokens |= {name: stamp[name] for name in TOKEN_FIELDS if name in stamp}
        if "total_tokens" not in stamp:
            tokens["total_tokens"] = tokens["prompt_tokens"] + tokens["completion_tokens"]
        if not Usage("", *(tokens[name] for name in COUNTS)).adds_up:
            tokens["usage_quality"] = "inconsistent"
        return tokens
    if usage is None:
        return {"usage_quality": "missing"}
    return dict(zip(TOKEN_FIELDS, usage[1:8], strict=True))


def reported_cost(cost: Decimal | None) -> Decimal | None:
    """A cost that a provider or a gateway tells, to the decimals of the contract. One that is no
    amount is unknown: it must not cost the event its tokens."""
    if cost is None or not cost.is_finite() or not 0 <= cost < MAX_COST:
        return None
    return _rounded(cost)


def _rounded(cost: Decimal) -> Decimal:
    """`cost` to the decimals of the contract: a price that was divided has 28 digits."""
    _, _, exponent = cost.as_tuple()
    return cost if -int(exponent) <= COST_DECIMALS else cost.quantize(_LEAST_COST)

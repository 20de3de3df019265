"""Makes the event of a request from its facts, its caller, its stamp and its usage.

Text that a client or a provider chooses (a path, a header, a model's name) must never invalidate
the event, so it is cut to the contract's length. Ids are never cut: half an id may be another's id.
"""

from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, Final

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
    MAX_UNITS,
    UsageEvent,
    clip,
)

TOKEN_FIELDS = (*COUNTS, "usage_quality")
BATCH: Final = "batch"  # the tier of an answer of a batch job

_LEAST_COST = Decimal(1).scaleb(-COST_DECIMALS)


def event_of(
    request: Mapping[str, Any],
    caller: Caller,
    stamp: Mapping[str, Any],
    usage: Usage | None,
    *,
    complete: bool,
    trace: Mapping[str, str],
) -> UsageEvent:
    """The event of a request. The stamp overrides the answer's usage: all tokens together, other
    fields one by one.

    Args:
        request: fields of the event (see `facts_of`).
        complete: the whole answer was seen.
        trace: tags with the ids of a trace (see `trace_of`).

    Raises:
        pydantic.ValidationError: ids, stamped values or tags break the contract.
    """
    fields = {
        **request,
        "user_id": caller.user_id,
        "user_name": clip(caller.user_name, MAX_NAME_CHARS),
        "api_key_id": caller.api_key_id,
        "api_key_name": clip(caller.api_key_name, MAX_NAME_CHARS),
        "source": caller.source or ("apikey" if caller.api_key_id else "web"),
        "virtual_key_id": caller.virtual_key_id,
        "team_id": caller.team_id,
        "customer_id": caller.customer_id,
        **_tokens(stamp, usage, complete=complete),
    }
    if usage is not None:
        fields["model"] = usage.model
        if usage.service_tier:
            fields.update(tier_of(usage.service_tier))
    _choose_cost(fields, stamp, usage)
    if stamp:
        fields.update((k, v) for k, v in stamp.items() if k not in TOKEN_FIELDS)
    for name in ("model", "requested_model"):
        fields[name] = clip(fields[name], MAX_ID_CHARS)
    cost = fields.get("cost")
    if isinstance(cost, Decimal) and cost.is_finite():  # the event refuses other values
        fields["cost"] = _rounded(cost)
    tags = {**caller.tags, **stamp.get("tags", {})}
    fields["tags"] = with_trace(_tags(tags) if tags else tags, trace)
    return UsageEvent.new(**fields)


def _choose_cost(fields: dict[str, Any], stamp: Mapping[str, Any], usage: Usage | None) -> None:
    """The stamp's cost, else the one in the answer's body, else the one in its header, which
    `fields` have."""
    in_body = None if usage is None else reported_cost(usage.cost)
    if "cost" in stamp or in_body is not None:
        fields.pop("price_version", None)
        fields["cost"] = in_body
        fields["cost_source"] = "stamped" if "cost" in stamp else "reported"


def _tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    """`tags`, cut to the contract's lengths: clients may have written them."""
    return {
        clip(key, MAX_TAG_KEY_CHARS): clip(value, MAX_TAG_VALUE_CHARS)
        if isinstance(value, str)
        else value
        for key, value in tags.items()
    }


def wrong_fields(error: ValidationError) -> str:
    """The names of an event's wrong fields, for the log. Never their values."""
    return ", ".join(sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]}))


def has_tokens(stamp: Mapping[str, Any]) -> bool:
    """Whether a stamp has tokens. Zeros count: the handler knows."""
    return "prompt_tokens" in stamp or "completion_tokens" in stamp


def has_usage(stamp: Mapping[str, Any]) -> bool:
    """Whether a stamp has tokens, or other units: a transcription may have seconds alone."""
    return has_tokens(stamp) or "units" in stamp


def tier_of(service_tier: str) -> dict[str, Any]:
    """The fields of the tier that an answer reports."""
    tier = {"service_tier": clip(service_tier, MAX_ID_CHARS)}
    return tier | {"batch": True} if service_tier == BATCH else tier


def units_of(usage: Usage) -> dict[str, int]:
    """The units of an answer, as many as the contract allows."""
    return dict(islice(usage.units.items(), MAX_UNITS))


def with_trace(tags: dict[str, str], trace: Mapping[str, str]) -> dict[str, str]:
    """`tags` with those of a trace, if the contract has room for them. If the tags name a trace
    already, they are unchanged: a span of another trace would mislead."""
    if not trace or "trace_id" in tags:
        return tags
    missing = [name for name in trace if name not in tags][: max(0, MAX_TAGS - len(tags))]
    return tags | {name: trace[name] for name in missing}


def _tokens(stamp: Mapping[str, Any], usage: Usage | None, *, complete: bool) -> dict[str, Any]:
    """The tokens and their quality, from one source: stamp and answer are never mixed."""
    if has_tokens(stamp) or (usage is None and has_usage(stamp)):
        # The handler of an answer that was cut might have stamped more later.
        quality = "complete" if complete else "partial"
        tokens: dict[str, Any] = dict.fromkeys(TOKEN_FIELDS, 0) | {"usage_quality": quality}
        tokens |= {name: stamp[name] for name in TOKEN_FIELDS if name in stamp}
        if "total_tokens" not in stamp:
            tokens["total_tokens"] = tokens["prompt_tokens"] + tokens["completion_tokens"]
        if not Usage("", *(tokens[name] for name in COUNTS)).adds_up:
            tokens["usage_quality"] = "inconsistent"
        return tokens
    if usage is None:
        return {"usage_quality": "missing"}
    tokens = dict(zip(TOKEN_FIELDS, usage[1:8], strict=True))
    return tokens | {"units": units_of(usage)} if usage.units else tokens


def reported_cost(cost: Decimal | None) -> Decimal | None:
    """A cost that a provider or a gateway reports, rounded to the contract's decimals. An invalid
    amount becomes None: the tokens must be recorded anyway."""
    if cost is None or not cost.is_finite() or not 0 <= cost < MAX_COST:
        return None
    return _rounded(cost)


def _rounded(cost: Decimal) -> Decimal:
    """`cost` with the contract's decimals: the quotient of a division has 28 digits."""
    _, _, exponent = cost.as_tuple()
    return cost if -int(exponent) <= COST_DECIMALS else cost.quantize(_LEAST_COST)

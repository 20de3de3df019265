"""Makes the fields of an event from LiteLLM's report of a call, its `StandardLoggingPayload`.

LiteLLM has already converted the provider's usage to OpenAI's form: cache reads and writes are part
of the prompt. The caller's ids come from the proxy (a key's hash, never the key). What the client
calls itself (`user`, tags) is data, not identity.
https://docs.litellm.ai/docs/proxy/logging_spec
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from usagepipe.producer.reading.extraction import judged
from usagepipe.producer.reading.shapes.anthropic import without_other_models
from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.openai import subset
from usagepipe.producer.reading.shapes.openai_units import BILLED
from usagepipe.producer.reading.shapes.units import regional_runs, units_in
from usagepipe.producer.reading.usage import COUNTS, Usage
from usagepipe.producer.watching.callers import Caller
from usagepipe.producer.watching.events import BATCH, reported_cost, tier_of, units_of, with_trace
from usagepipe.producer.watching.trace_context import TRACEPARENT, trace_of
from usagepipe.schemas.event import MAX_ID_CHARS, MAX_NAME_CHARS, UsageQuality, clip

SUCCESS: Final = 200
FAILURE: Final = 500  # if LiteLLM reports no status
CLIENT_GONE: Final = 499
TOTALS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")

Payload = Mapping[str, Any]


def traceparent_of(kwargs: Payload) -> str:
    """The header `traceparent` that the proxy received, or "". It is not in the payload, whose own
    `trace_id` groups the attempts of one call."""
    request = _mapping(_mapping(kwargs, "litellm_params"), "proxy_server_request")
    value = _mapping(request, "headers").get(TRACEPARENT)  # names are in lower case
    return value if isinstance(value, str) else ""


def fields_of(
    payload: Payload, version: str, caller: Caller | None = None, traceparent: str = ""
) -> dict[str, Any]:
    """The fields of the event of one call. `user_id` is "" if the caller is unknown.

    `version` is LiteLLM's, whose price list belongs to it. `caller` is used if no proxy knows the
    caller.
    """
    metadata = _mapping(payload, "metadata")
    status = _status(payload)
    usage = usage_of(payload)
    cost = _cost(payload, status)
    started, ended = _moment(payload, "startTime"), _moment(payload, "endTime")
    streaming = payload.get("stream") is True
    first = _moment(payload, "completionStartTime") if streaming else None
    return {
        **_who(metadata, caller),
        **{name: getattr(usage, name) for name in COUNTS},
        **tier_of(_tier(payload)),
        "units": units_of(usage),
        "occurred_at": datetime.fromtimestamp(started or 0, UTC),
        "request_id": _id(payload.get("litellm_call_id") or payload.get("id")),
        "provider": _id(payload.get("custom_llm_provider")),
        "requested_model": _text(payload.get("model_group") or payload.get("model"), MAX_ID_CHARS),
        "model": _served(payload),
        "endpoint": _text(
            metadata.get("user_api_key_request_route") or payload.get("call_type"), MAX_NAME_CHARS
        ),
        "status_code": status,
        "failed": payload.get("status") != "success",
        "streaming": streaming,
        "duration_ms": _milliseconds(started, ended),
        "ttft_ms": None if first is None else _milliseconds(started, first),
        "usage_quality": _quality(usage, status),
        "cost": cost,
        "cost_source": "" if cost is None else "reported",
        "price_version": "" if cost is None else f"litellm-{version}",
        "tags": with_trace(_tags(payload), trace_of(traceparent)),
    }


def _who(metadata: Payload, caller: Caller | None) -> dict[str, str]:
    """Ids from the proxy's tables. A team's key without a user counts for the team."""
    key = _id(metadata.get("user_api_key_hash"))
    team = _id(metadata.get("user_api_key_team_id"))
    user = _id(metadata.get("user_api_key_user_id")) or team or key
    if not user and caller is not None:
        return {
            "user_id": caller.user_id,
            "user_name": clip(caller.user_name, MAX_NAME_CHARS),
            "source": caller.source or "web",
            "team_id": caller.team_id,
            "customer_id": caller.customer_id,
        }
    return {
        "user_id": user,
        "user_name": _text(metadata.get("user_api_key_user_email"), MAX_NAME_CHARS),
        "api_key_id": key,
        "api_key_name": _text(metadata.get("user_api_key_alias"), MAX_NAME_CHARS),
        "source": "apikey" if key else "web",
        "team_id": team,
        "customer_id": _id(metadata.get("user_api_key_org_id")),
    }


def usage_of(payload: Payload) -> Usage:
    """The counts, and whether they are plausible. The details are in the provider's usage object,
    which LiteLLM has converted to OpenAI's form."""
    details = _mapping(_mapping(payload, "metadata"), "usage_object")
    counts = Counts({**details, **{name: payload.get(name) for name in TOTALS}})
    usage = subset(counts)
    if units := units_in(details, BILLED) | regional_runs(details):
        usage = usage._replace(units=units)
    if details.get("iterations"):
        usage = without_other_models(usage, dict(details))
    sound = counts.sound and usage.adds_up
    return judged(usage if sound else usage._replace(usage_quality="inconsistent"), cut=False)


def _tier(payload: Payload) -> str:
    """The tier that the answer reports, or that LiteLLM notes with the usage. LiteLLM reports a
    batch job once, when it has ended."""
    if BATCH in str(payload.get("call_type")):
        return BATCH
    usage = _mapping(_mapping(payload, "metadata"), "usage_object")
    tier = _mapping(payload, "response").get("service_tier") or usage.get("service_tier")
    return tier if isinstance(tier, str) else ""


def _quality(usage: Usage, status: int) -> UsageQuality:
    if usage.usage_quality == "complete" and status == CLIENT_GONE:
        return "partial"  # LiteLLM has counted what was sent until then
    return usage.usage_quality


def _cost(payload: Payload, status: int) -> Decimal | None:
    """US dollars as LiteLLM computed them. None: it has no price, or nothing was used."""
    failed = status >= 400 and status != CLIENT_GONE
    if failed or payload.get("response_cost_failure_debug_info"):
        return None
    try:
        cost = Decimal(str(payload.get("response_cost")))  # a float's shortest text
    except InvalidOperation:
        return None
    return reported_cost(cost)


def _status(payload: Payload) -> int:
    code = str(_mapping(payload, "error_information").get("error_code") or "")
    if code.isascii() and code.isdigit() and 100 <= int(code) <= 999:
        return int(code)
    return SUCCESS if payload.get("status") == "success" else FAILURE


def _served(payload: Payload) -> str:
    """The model without the provider's prefix, which LiteLLM uses for routing."""
    provider = payload.get("custom_llm_provider") or ""
    return _text(payload.get("model"), MAX_ID_CHARS).removeprefix(f"{provider}/")


def _tags(payload: Payload) -> dict[str, str]:
    tags = {
        "litellm_trace_id": _id(payload.get("trace_id")),
        "end_user": _id(payload.get("end_user")),
        "call_type": _id(payload.get("call_type")),
        "cache_hit": "true" if payload.get("cache_hit") is True else "",
    }
    return {name: value for name, value in tags.items() if value}


def _moment(payload: Payload, name: str) -> float | None:
    value = payload.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _milliseconds(start: float | None, end: float | None) -> int:
    return 0 if start is None or end is None else max(0, round((end - start) * 1000))


def _mapping(payload: Payload, name: str) -> Payload:
    value = payload.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(value: object, chars: int) -> str:
    return clip(value, chars) if isinstance(value, str) else ""


def _id(value: object) -> str:
    """`value` if it is an id. Never cut: half an id may be another's id."""
    return value if isinstance(value, str) and len(value) <= MAX_ID_CHARS else ""

"""The fields of an event that come from the watched request and the headers around it."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from usagepipe.producer.watching.events import reported_cost
from usagepipe.producer.watching.watched_request import WatchedRequest
from usagepipe.schemas.event import MAX_ID_CHARS, MAX_NAME_CHARS, clip

COST_HEADER = "x-litellm-response-cost"  # LiteLLM's proxy, in US dollars
VERSION_HEADER = "x-litellm-version"  # its price list comes with it
TIER_HEADER = "x-amzn-bedrock-service-tier"
IDEMPOTENCY_HEADER = "idempotency-key"  # the same in all tries of a request
MAX_ATTEMPT = 65_535
_MAX_DIGITS = 5
# OpenAI's and Anthropic's /batches/…, Mistral's /batch/jobs/…
_BATCH_PATH = re.compile(r"/batch(?:es)?(?:/|$)")


def facts_of(
    watched: WatchedRequest, correlation_header: str, attempt_header: str
) -> dict[str, Any]:
    """What a finished request contributes to its event, by the event's fields.

    `model` and `cost` are those of the answer that `event_of` may know better.
    """
    request_id = _request_id(watched, correlation_header)
    return {
        "occurred_at": watched.occurred_at,
        "endpoint": clip(watched.endpoint, MAX_NAME_CHARS),
        "request_id": request_id if len(request_id) <= MAX_ID_CHARS else "",
        "attempt": _attempt(watched.request_header(attempt_header)),
        "provider": watched.provider,
        "requested_model": watched.requested_model,
        "model": watched.served_model,
        "status_code": watched.status,
        "failed": watched.failed,
        "streaming": watched.streaming,
        "duration_ms": watched.duration_ms,
        "ttft_ms": watched.ttft_ms,
        **_cost(watched),
        **_batch(watched.endpoint),
        **_tier(watched),
    }


def _batch(endpoint: str) -> dict[str, Any]:
    """Whether the path names the answer of a batch job."""
    is_batch = "/batch" in endpoint and _BATCH_PATH.search(endpoint) is not None
    return {"batch": True} if is_batch else {}


def _tier(watched: WatchedRequest) -> dict[str, Any]:
    """The tier in the header of Bedrock's InvokeModel: its bodies are the models' own."""
    if "/invoke" not in watched.endpoint or not (tier := watched.answer_header(TIER_HEADER)):
        return {}
    return {"service_tier": clip(tier, MAX_ID_CHARS)}


def _cost(watched: WatchedRequest) -> dict[str, Any]:
    """The cost in the answer's header, and whose prices it has ("litellm" without a version).

    The header is sent before a stream is counted, and with a failure: then 0 means unknown.
    """
    text = watched.answer_header(COST_HEADER)
    if not text:
        return {}
    try:
        cost = reported_cost(Decimal(text))
    except InvalidOperation:
        return {}
    if cost is None or (not cost and (watched.failed or watched.streaming)):
        return {}
    version = watched.answer_header(VERSION_HEADER)
    prices = clip(f"litellm-{version}" if version else "litellm", MAX_ID_CHARS)
    return {"cost": cost, "cost_source": "reported", "price_version": prices}


def _request_id(watched: WatchedRequest, correlation_header: str) -> str:
    """The correlation id of the answer, else of the request, else the idempotency key."""
    return (
        watched.answer_header(correlation_header)
        or watched.request_header(correlation_header)
        or watched.request_header(IDEMPOTENCY_HEADER)
    )


def _attempt(retries: str) -> int:
    """1 for the first try. The header counts retries from 0; a client may send any text."""
    if not (retries.isascii() and retries.isdigit() and len(retries) <= _MAX_DIGITS):
        return 1
    return min(int(retries) + 1, MAX_ATTEMPT)

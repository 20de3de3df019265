"""How a request went, put together from the notes of its exchange and the headers around it."""

from decimal import Decimal, InvalidOperation

from usagepipe.producer.watching.events import Course
from usagepipe.producer.watching.exchanges import Exchange
from usagepipe.producer.watching.trace_context import TRACEPARENT, trace_of
from usagepipe.schemas.event import MAX_ID_CHARS, clip

COST_HEADER = "x-litellm-response-cost"  # LiteLLM's proxy, in US dollars
VERSION_HEADER = "x-litellm-version"  # its price list comes with it
IDEMPOTENCY_HEADER = "idempotency-key"  # a client repeats it with each try of a request
MAX_ATTEMPT = 65_535
_MAX_DIGITS = 5


def course_of(exchange: Exchange, correlation_header: str, attempt_header: str) -> Course:
    """The course of a request that is over."""
    cost = _cost(exchange)
    return Course(
        occurred_at=exchange.occurred_at,
        endpoint=exchange.endpoint,
        request_id=_request_id(exchange, correlation_header),
        attempt=_attempt(exchange.request_header(attempt_header)),
        requested_model=exchange.asked_model,
        served_model=exchange.served_model,
        status_code=exchange.status,
        failed=exchange.failed,
        complete=exchange.complete,
        streaming=exchange.streaming,
        duration_ms=exchange.duration_ms,
        ttft_ms=exchange.ttft_ms,
        trace=trace_of(exchange.request_header(TRACEPARENT)),
        cost=cost,
        price_version="" if cost is None else _price_version(exchange),
    )


def _cost(exchange: Exchange) -> Decimal | None:
    """The cost in the answer's header. It is sent before a stream is counted, and with a failure:
    then 0 is no known cost."""
    text = exchange.answer_header(COST_HEADER)
    if not text:
        return None
    try:
        cost = Decimal(text)
    except InvalidOperation:
        return None
    doubtful = exchange.failed or exchange.streaming
    return None if doubtful and not cost else cost


def _price_version(exchange: Exchange) -> str:
    """Whose prices the cost in the header has: "litellm" if its version is not known."""
    version = exchange.answer_header(VERSION_HEADER)
    return clip(f"litellm-{version}" if version else "litellm", MAX_ID_CHARS)


def _request_id(exchange: Exchange, correlation_header: str) -> str:
    """The correlation id of the answer, else of the request, else what its retries share."""
    return (
        exchange.answer_header(correlation_header)
        or exchange.request_header(correlation_header)
        or exchange.request_header(IDEMPOTENCY_HEADER)
    )


def _attempt(retries: str) -> int:
    """1 for the first try. The header counts retries, from 0; a stranger may write anything."""
    if not (retries.isascii() and retries.isdigit() and len(retries) <= _MAX_DIGITS):
        return 1
    return min(int(retries) + 1, MAX_ATTEMPT)

"""How a request went, put together from the notes of its exchange and the headers around it."""

from usagepipe.producer.events import Course
from usagepipe.producer.exchanges import Exchange
from usagepipe.producer.trace_context import TRACEPARENT, trace_of

IDEMPOTENCY_HEADER = "idempotency-key"  # a client repeats it with each try of a request
MAX_ATTEMPT = 65_535
_MAX_DIGITS = 5


def course_of(exchange: Exchange, correlation_header: str, attempt_header: str) -> Course:
    """The course of a request that is over."""
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
    )


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

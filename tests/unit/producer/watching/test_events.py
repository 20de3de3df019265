"""An event is put together from a request's facts, its caller, its stamp and its usage."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from usagepipe.producer import Caller
from usagepipe.producer.reading.usage import Usage
from usagepipe.producer.watching.events import event_of
from usagepipe.schemas.event import MAX_TAGS, UsageEvent

REQUEST = {
    "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
    "endpoint": "/v1/chat/completions",
    "request_id": "r",
    "provider": "p",
    "requested_model": "auto",
    "model": "",
    "status_code": 200,
    "duration_ms": 1,
}
USAGE = Usage("m", 31, 7, 38)


def event(
    usage: Usage | None = USAGE,
    stamp: dict[str, Any] | None = None,
    caller: Caller | None = None,
    trace: dict[str, str] | None = None,
) -> UsageEvent:
    caller = caller or Caller("u")
    return event_of(REQUEST, caller, stamp or {}, usage, complete=True, trace=trace or {})


@pytest.mark.parametrize(
    ("reported", "kept"),
    [
        (None, None),
        ("0.000140", "0.00014"),
        ("0", "0"),
        ("1E-12", "0.000000000001"),
        ("0.0000000000014", "0.000000000001"),  # a thousandth of a nano-dollar is the least
        ("-0.01", None),
        ("1E9", None),
        ("NaN", None),
        ("Infinity", None),
    ],
)
def test_cost_that_a_provider_reports_is_kept_exactly(
    reported: str | None, kept: str | None
) -> None:
    """A reported cost is kept to the contract's decimals; one that is no amount is unknown, and
    the tokens beside it count all the same."""
    cost = None if reported is None else Decimal(reported)

    found = event(USAGE._replace(cost=cost))

    assert (None if kept is None else Decimal(kept), 38) == (found.cost, found.total_tokens)


def test_stamped_cost_wins_over_the_reported_one() -> None:
    """The cost that the handler computed counts, with its price version."""
    stamp = {"cost": Decimal("0.5"), "price_version": "v1"}

    found = event(USAGE._replace(cost=Decimal("0.4")), stamp)

    assert (Decimal("0.5"), "v1") == (found.cost, found.price_version)


def test_tokens_of_two_places_are_never_mixed() -> None:
    """Stamped tokens stand alone; the answer's model and cost fill what the stamp left open."""
    usage = USAGE._replace(cached_tokens=5, cost=Decimal("0.4"))

    found = event(usage, {"prompt_tokens": 9})

    assert (9, 0, 9, 0) == (
        found.prompt_tokens,
        found.completion_tokens,
        found.total_tokens,
        found.cached_tokens,
    )
    assert ("m", Decimal("0.4")) == (found.model, found.cost)


def test_request_without_usage_is_missing_it() -> None:
    """No usage is zero tokens of the quality `missing`, never `complete`."""
    found = event(None)

    assert (0, "missing", "auto", None) == (
        found.total_tokens,
        found.usage_quality,
        found.requested_model,
        found.cost,
    )


def test_stamped_cost_of_many_digits_is_rounded() -> None:
    """A price that was divided has 28 digits: it must not cost the event its tokens."""
    stamp = {"prompt_tokens": 1, "cost": Decimal(1) / Decimal(3)}

    found = event(stamp=stamp)

    assert (Decimal("0.333333333333"), 1) == (found.cost, found.prompt_tokens)


def test_caller_without_a_key_may_have_null_for_it() -> None:
    """So users' own tables have it."""
    nobody: Any = None

    found = event(caller=Caller("u", api_key_id=nobody, api_key_name=nobody))

    assert ("", "", "web") == (found.api_key_id, found.api_key_name, found.source)


TRACE = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}


@pytest.mark.parametrize(
    ("of_caller", "stamped", "kept"),
    [
        ({}, {}, TRACE),
        ({"plan": "pro"}, {"a": "b"}, TRACE | {"plan": "pro", "a": "b"}),
        # The handler's own span in the same trace.
        ({}, {"span_id": "mine"}, TRACE | {"span_id": "mine"}),
        # Another trace: the caller's span is none of it.
        ({}, {"trace_id": "mine"}, {"trace_id": "mine"}),
        ({"trace_id": "theirs"}, {}, {"trace_id": "theirs"}),
    ],
)
def test_trace_is_in_the_tags(
    of_caller: dict[str, str], stamped: dict[str, str], kept: dict[str, str]
) -> None:
    """The ids of the request's trace are tags, where neither stamp nor caller name another."""

    found = event(USAGE, {"tags": stamped}, Caller("u", tags=of_caller), TRACE)

    assert kept == found.tags


@pytest.mark.parametrize(("room", "reported"), [(0, []), (1, ["trace_id"]), (2, list(TRACE))])
def test_trace_never_costs_the_event(room: int, reported: list[str]) -> None:
    """With as many tags as an event takes, those of the trace are left out: the tokens count."""
    tags = {f"t{number}": "x" for number in range(MAX_TAGS - room)}

    found = event(caller=Caller("u", tags=tags), trace=TRACE)

    assert (38, reported) == (found.total_tokens, [name for name in TRACE if name in found.tags])

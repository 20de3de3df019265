"""What providers and gateways say that a request cost, in bodies and in headers."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.support.watched import CHAT, Bench, answering
from usagepipe.producer import stamp_usage
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage

COUNTS = {"prompt_tokens": 42, "completion_tokens": 24, "total_tokens": 66}
UPSTREAM = {"upstream_inference_cost": 0.0360795, "upstream_inference_prompt_cost": 0.0343845}
JSON, EVENTS = "application/json", "text/event-stream"


def cost_of(
    reported: dict[str, Any], content_type: str = JSON, limit: int = 4_096
) -> Decimal | None:
    document = json.dumps({"usage": COUNTS | reported}).encode()
    reader = AnswerReader(content_type, "", limit)
    reader.feed(document if content_type == JSON else b"data: %b\n\ndata: [DONE]\n\n" % document)
    found = reader.read()
    assert isinstance(found, Usage)
    assert 66 == found.total_tokens
    return found.cost


@pytest.mark.parametrize("limit", [24, 4_096])
@pytest.mark.parametrize("content_type", [JSON, EVENTS])
@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"cost_in_usd_ticks": 37_756_000}, "0.0037756"),
        ({"cost_in_usd_ticks": 1}, "0.0000000001"),
        ({"cost_in_usd_ticks": 400_000_000.0}, "0.04"),
        ({"cost_in_usd_ticks": 0}, "0"),
        ({"cost_in_usd_ticks": -1}, None),
        ({"cost_in_usd_ticks": 1.5}, None),
        ({"cost_in_usd_ticks": "37756000"}, None),
        ({"cost_in_usd_ticks": True}, None),
        ({"cost_in_usd_ticks": 10**40}, None),
        ({"cost_in_usd_ticks": None, "cost": 0.25}, "0.25"),
        ({"estimated_cost": 0.0001234567890123}, "0.0001234567890123"),
        ({"cost": {"currency": "USD", "input_cost": 0.1, "total_cost": 0.3}}, "0.3"),
        ({"cost": {"currency": "EUR", "total_cost": 0.3}}, None),
        ({"cost": 0, "is_byok": False}, "0"),
        ({"cost": 0.25, "is_byok": False, "cost_details": UPSTREAM}, "0.25"),
        ({"cost": 0, "is_byok": True}, None),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0, "is_byok": True, "cost_details": UPSTREAM}, "0.0360795"),
        ({"cost": 0.0018, "is_byok": True, "cost_details": UPSTREAM}, "0.0378795"),
        ({"cost": 0.0018, "is_byok": True}, "0.0018"),
    ],
)
def test_reported_cost_is_exact(
    reported: dict[str, Any], expected: str | None, content_type: str, limit: int
) -> None:
    """In dollars to the last digit; what is no amount, or says nothing, is unknown."""
    found = cost_of(reported, content_type, limit)

    assert (None if expected is None else Decimal(expected)) == found


def header_event(header: str, **options: Any) -> Bench:
    headers = [("content-type", options.pop("content_type", JSON))]
    headers += [("X-LiteLLM-Response-Cost", header)]
    if version := options.pop("version", "1.108.7"):
        headers += [("x-litellm-version", version)]
    bench = Bench(answering(options.pop("body", CHAT), headers=headers, **options))
    bench.post()
    return bench


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("0.00056", "0.00056"),
        ("1.2e-05", "0.000012"),
        ("0.0000000000001", "0"),
        ("0.0", "0"),
        ("", None),
        ("None", None),
        ("-1", None),
        ("nan", None),
        ("0.1, 0.1", None),
    ],
)
def test_cost_in_the_header_of_litellm_is_kept(header: str, expected: str | None) -> None:
    """Its proxy sends the cost of an answer in a header, and its version has the prices."""
    event = header_event(header).event

    assert (None if expected is None else Decimal(expected)) == event.cost
    assert ("" if expected is None else "litellm-1.108.7") == event.price_version
    assert 38 == event.total_tokens


def test_cost_without_a_version_names_the_prices_only() -> None:
    """A proxy that hides its version, or has an old one, is still known as LiteLLM."""
    event = header_event("0.5", version="").event

    assert (Decimal("0.5"), "litellm") == (event.cost, event.price_version)


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (500, JSON, CHAT),
        (200, EVENTS, b"data: %b\n\n" % json.dumps(CHAT).encode()),
    ],
)
def test_zero_in_a_header_that_came_too_early_is_unknown(
    status: int, content_type: str, body: object
) -> None:
    """Headers go out before a stream is counted; a cost that is there all the same is kept."""
    unknown = header_event("0.0", status=status, content_type=content_type, body=body)
    known = header_event("0.5", status=status, content_type=content_type, body=body)

    assert (None, Decimal("0.5")) == (unknown.event.cost, known.event.cost)


def test_body_and_stamp_win_over_the_header() -> None:
    """The provider's own word counts before the gateway's, and the handler's before both."""
    body = {"model": "m", "usage": COUNTS | {"cost": 0.25}}

    reported = header_event("0.5", body=body).event
    stamped = header_event("0.5", before=lambda: stamp_usage(cost=Decimal(1))).event

    assert (Decimal("0.25"), "") == (reported.cost, reported.price_version)
    assert (Decimal(1), "") == (stamped.cost, stamped.price_version)

"""LiteLLM's account of a call becomes an event; the payloads are those of its proxy 1.108.7."""

import json
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from tests.support.installs import ROOT
from usagepipe.producer import Caller
from usagepipe.producer.watching.litellm_calls import fields_of, traceparent_of, usage_of
from usagepipe.producer.watching.parts import parts_of
from usagepipe.schemas import UsageEvent

LINES = (ROOT / "tests" / "golden" / "litellm_calls.jsonl").read_text().splitlines()
CALLS: dict[str, dict[str, Any]] = {
    call["name"]: call["payload"] for call in map(json.loads, LINES)
}
VERSION = "1.108.7"


def event(name: str, **changes: Any) -> UsageEvent:
    """The event of a recorded call, with some of its payload changed."""
    return UsageEvent.new(**fields_of(deepcopy(CALLS[name]) | changes, VERSION))


def test_an_answered_call_is_recorded_with_what_the_provider_counted() -> None:
    """Tokens, cached and reasoning ones, models, caller, times and cost are LiteLLM's."""
    found = event("answered")

    assert (2006, 300, 2306) == (
        found.prompt_tokens,
        found.completion_tokens,
        found.total_tokens,
    )
    assert (1920, 200) == (found.cached_tokens, found.reasoning_tokens)
    assert ("small", "gpt-4o", "openai") == (found.requested_model, found.model, found.provider)
    assert ("default_user_id", "apikey") == (found.user_id, found.source)
    assert Decimal("0.005615") == found.cost
    assert f"litellm-{VERSION}" == found.price_version
    assert "4111e019-565f-4388-be3b-032d7cfd1889" == found.request_id
    assert (200, False, False, 140) == (
        found.status_code,
        found.failed,
        found.streaming,
        found.duration_ms,
    )
    assert "complete" == found.usage_quality
    assert "ada" == found.tags["end_user"]


def test_a_stream_has_its_time_to_first_token() -> None:
    """From the request to the first chunk that LiteLLM got."""
    found = event("streamed")

    assert (True, 834) == (found.streaming, found.ttft_ms)
    assert 2306 == found.total_tokens


def test_a_failed_call_is_an_event_without_a_cost() -> None:
    """T-39: the request and its failure count; what it cost is unknown, not 0."""
    found = event("failed")

    assert (500, True, 0, None) == (
        found.status_code,
        found.failed,
        found.total_tokens,
        found.cost,
    )
    assert "missing" == found.usage_quality


def test_a_client_that_went_away_leaves_a_partial_count() -> None:
    """LiteLLM itself counts the tokens that were sent until then: the provider sent no count."""
    found = event("client_gone")

    assert (499, "partial", 12) == (found.status_code, found.usage_quality, found.total_tokens)
    assert Decimal("0.00006") == found.cost


@pytest.mark.parametrize("cost", [None, "no number", -0.1, float("nan"), 1e12])
def test_a_cost_that_is_none_is_unknown(cost: object) -> None:
    """Never 0 for unknown."""
    assert event("answered", response_cost=cost).cost is None


def test_a_call_without_a_price_has_no_cost() -> None:
    """LiteLLM reports 0 for a model without a price, and the reason."""
    found = event("answered", response_cost=0.0, response_cost_failure_debug_info={"error": "x"})

    assert found.cost is None


@pytest.mark.parametrize("count", [-1, 1.5, "7", 10**13, True])
def test_what_is_no_count_makes_the_usage_inconsistent(count: object) -> None:
    """The request is kept, and nobody takes the sum for the provider's."""
    found = event("answered", prompt_tokens=count)

    assert ("inconsistent", 0) == (found.usage_quality, found.prompt_tokens)


def test_a_key_of_a_team_counts_for_its_team() -> None:
    """Such keys have no user, and their usage must not be nobody's."""
    metadata = CALLS["answered"]["metadata"] | {
        "user_api_key_user_id": None,
        "user_api_key_team_id": "team-7",
        "user_api_key_hash": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "user_api_key_alias": "nightly",
    }

    found = event("answered", metadata=metadata)

    assert ("team-7", "team-7", "nightly") == (found.user_id, found.team_id, found.api_key_name)


def test_without_a_proxy_the_program_says_who_calls() -> None:
    """The SDK alone knows no keys and no users."""
    metadata = dict.fromkeys(CALLS["answered"]["metadata"])
    payload = CALLS["answered"] | {"metadata": metadata}

    found = fields_of(payload, VERSION, Caller(user_id="nightly-batch", team_id="t"))
    nobody = fields_of(payload, VERSION)

    assert ("nightly-batch", "web", "t") == (found["user_id"], found["source"], found["team_id"])
    assert "" == nobody["user_id"]


@pytest.mark.parametrize("payload", [{}, dict.fromkeys(CALLS["answered"]), {"metadata": 7}])
def test_a_payload_of_another_version_breaks_nothing(payload: dict[str, Any]) -> None:
    """What is not there is not known."""
    found = fields_of(payload, VERSION)

    assert 0 == found["total_tokens"]
    assert found["cost"] is None


@pytest.mark.parametrize(
    "params", [None, {}, {"proxy_server_request": {"headers": {"traceparent": 1}}}]
)
def test_call_without_a_header_has_no_trace(params: object) -> None:
    """Of the SDK there is no request, and the trace id in LiteLLM's account is none of W3C's."""
    header = traceparent_of({"litellm_params": params})

    assert "" == header
    assert "trace_id" not in event("answered").tags


def test_header_that_the_proxy_received_names_the_trace() -> None:
    """It is beside LiteLLM's own id of the call's attempts, which stays."""
    sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    kwargs = {"litellm_params": {"proxy_server_request": {"headers": {"traceparent": sent}}}}

    fields = fields_of(CALLS["answered"], VERSION, traceparent=traceparent_of(kwargs))

    assert "4bf92f3577b34da6a3ce929d0e0e4736" == fields["tags"]["trace_id"]
    assert "00f067aa0ba902b7" == fields["tags"]["span_id"]
    assert CALLS["answered"]["trace_id"] == fields["tags"]["litellm_trace_id"]


def test_other_models_in_an_answer_are_parts() -> None:
    """LiteLLM adds all runs of Claude's `iterations` up, the advisor's too. They are taken apart;
    its one cost is that of the request."""
    runs = [
        {"type": "message", "input_tokens": 1_128, "output_tokens": 110},
        {"type": "advisor_message", "model": "o", "input_tokens": 2_518, "output_tokens": 22}
        | {
            "cache_creation_input_tokens": 9,
            "cache_creation": {"ephemeral_1h_input_tokens": 9},
        },
        {"type": "message", "input_tokens": 1_262, "output_tokens": 11},
    ]
    payload = deepcopy(CALLS["answered"])
    payload |= {"prompt_tokens": 4_917, "completion_tokens": 143, "total_tokens": 5_060}
    payload["metadata"]["usage_object"] = {
        "iterations": runs,
        "prompt_tokens_details": {
            "cache_creation_tokens": 9,
            "cache_creation_token_details": {"ephemeral_1h_input_tokens": 9},
        },
        "completion_tokens_details": {"reasoning_tokens": 28},
    }

    request = UsageEvent.new(**fields_of(payload, VERSION))
    (part,) = parts_of(request, usage_of(payload))

    assert [(2_390, 121, 2_511, 28, "complete"), (2_527, 22, 2_549, 0, "complete")] == [
        (
            event.prompt_tokens,
            event.completion_tokens,
            event.total_tokens,
            event.reasoning_tokens,
            event.usage_quality,
        )
        for event in (request, part)
    ]
    assert [({}, 0), ({"cache_write_1h_tokens": 9}, 9)] == [
        (event.units, event.cache_write_tokens) for event in (request, part)
    ]
    assert ("o", 1, request.request_id) == (part.model, part.part, part.request_id)
    assert (Decimal("0.005615"), Decimal(0)) == (request.cost, part.cost)


@pytest.mark.parametrize("iterations", [7, ["x"], [{"type": "message", "input_tokens": 3}]])
def test_iterations_without_other_models_change_nothing(iterations: object) -> None:
    """LiteLLM's totals are right then."""
    payload = deepcopy(CALLS["answered"])
    payload["metadata"]["usage_object"]["iterations"] = iterations

    assert usage_of(CALLS["answered"]) == usage_of(payload)

"""What an event says about its bill: units, service tier, batch, and where its cost comes from."""

from decimal import Decimal
from typing import Any

import pytest

from tests.support.watched import Bench, answering
from tests.unit.producer.watching.test_litellm_calls import event as litellm_event
from usagepipe.producer import stamp_usage
from usagepipe.producer.reading.usage import Usage
from usagepipe.producer.watching.events import units_of
from usagepipe.schemas.event import MAX_ID_CHARS, MAX_UNITS, UsageEvent

AUDIO = {"prompt_tokens": 31, "completion_tokens": 7, "prompt_tokens_details": {"audio_tokens": 9}}
HEADER = ("x-litellm-response-cost", "0.5")


def event(answer: dict[str, Any] | None = None, stamp: Any = None, **options: Any) -> UsageEvent:
    """The event of one request, whose handler stamps `stamp`."""
    path = options.pop("path", "/v1/chat/completions")
    body = {"usage": AUDIO} if answer is None else answer
    bench = Bench(answering(body, before=lambda: stamp_usage(**(stamp or {})), **options))
    bench.get(path)
    return bench.event


def test_answer_gives_units_and_tier() -> None:
    """What the answer reports is in the event, and no batch is."""
    found = event({"usage": AUDIO, "service_tier": "flex"})

    assert {"input_audio_tokens": 9} == found.units
    assert ("flex", False) == (found.service_tier, found.batch)


def test_tier_of_bedrock_is_in_a_header() -> None:
    """InvokeModel's answers have the models' own formats."""
    answer = {"prompt_token_count": 31, "generation_token_count": 7}
    path = "/model/meta.llama/invoke"

    found = event(answer, path=path, headers=[("x-amzn-bedrock-service-tier", "flex")])

    assert "flex" == found.service_tier


def test_plain_answer_has_no_units() -> None:
    """Text tokens are the rest: they need no unit."""
    found = event({"usage": {"prompt_tokens": 31, "completion_tokens": 7}})

    assert ({}, "", False, "") == (
        found.units,
        found.service_tier,
        found.batch,
        found.cost_source,
    )


def test_long_tier_is_cut() -> None:
    """A provider's text never invalidates an event."""
    assert "x" * MAX_ID_CHARS == event({"usage": AUDIO, "service_tier": "x" * 999}).service_tier


def test_units_are_as_many_as_an_event_allows() -> None:
    """Further ones are left out: the tokens must be recorded anyway."""
    many = {f"unit_{number}": 1 for number in range(MAX_UNITS + 1)}

    assert MAX_UNITS == len(units_of(Usage("m", 1, 1, 2, units=many)))


def test_tier_of_a_batch_makes_the_event_one_of_a_batch() -> None:
    """Claude reports it so."""
    usage = {"input_tokens": 1, "output_tokens": 1, "service_tier": "batch"}
    found = event({"type": "message", "usage": usage})

    assert ("batch", True) == (found.service_tier, found.batch)


@pytest.mark.parametrize(
    ("path", "batch"),
    [
        ("/v1/messages/batches/b/results", True),
        ("/v1/batches", True),
        ("/v1/batch/jobs/j", True),
        ("/v1/batched", False),
        ("/v1/models/batchy:generateContent", False),
    ],
)
def test_path_of_a_batch_makes_the_event_one_of_a_batch(path: str, batch: bool) -> None:
    """The path of OpenAI's, Anthropic's and Mistral's batch jobs."""
    assert batch == event(path=path).batch


def test_stamp_without_tokens_overrides_one_by_one() -> None:
    """The answer's tokens stay; units, tier and batch are the stamp's."""
    stamp = {"units": {"web_searches": 2}, "service_tier": "priority", "batch": False}
    found = event({"usage": AUDIO, "service_tier": "batch"}, stamp)

    assert 38 == found.total_tokens
    assert ({"web_searches": 2}, "priority", False) == (
        found.units,
        found.service_tier,
        found.batch,
    )


def test_stamped_tokens_replace_the_units_of_the_answer() -> None:
    """Units are parts of tokens, so those of another count would contradict them."""
    found = event(stamp={"prompt_tokens": 9, "completion_tokens": 5})

    assert (14, {}) == (found.total_tokens, found.units)


def test_units_alone_are_usage() -> None:
    """A handler may know nothing but seconds: such a request has a price."""
    found = event({}, {"model": "whisper-1", "units": {"input_audio_seconds": 12}})

    assert ({"input_audio_seconds": 12}, 0, "complete") == (
        found.units,
        found.total_tokens,
        found.usage_quality,
    )


def test_stamped_units_are_copied() -> None:
    """The handler may go on with its own mapping."""
    units = {"web_searches": 1}

    def stamp() -> None:
        stamp_usage(units=units)
        units.clear()

    bench = Bench(answering({"usage": AUDIO}, before=stamp))
    bench.get()

    assert {"web_searches": 1} == bench.event.units


@pytest.mark.parametrize("units", [["web_searches"], {"Web Searches": 1}, {"web_searches": -1}])
def test_invalid_stamped_units_are_counted(units: Any) -> None:
    """They break the contract, as other invalid stamps do. The request goes on."""
    bench = Bench(answering({"usage": AUDIO}, before=lambda: stamp_usage(units=units)))

    bench.get()

    assert {"invalid": 1} == bench.unrecorded


@pytest.mark.parametrize(
    ("answer", "stamp", "headers", "cost", "source"),
    [
        ({"usage": AUDIO | {"cost": 0.25}}, None, [], "0.25", "reported"),
        ({"usage": AUDIO}, None, [HEADER], "0.5", "reported"),
        ({"usage": AUDIO | {"cost": 0.25}}, None, [HEADER], "0.25", "reported"),
        ({"usage": AUDIO | {"cost": 0.25}}, {"cost": Decimal(1)}, [HEADER], "1", "stamped"),
        ({"usage": AUDIO}, None, [], None, ""),
    ],
)
def test_cost_has_its_source(
    answer: dict[str, Any], stamp: Any, headers: Any, cost: str | None, source: str
) -> None:
    """A provider or a gateway reports it, or a handler stamps it."""
    found = event(answer, stamp, headers=headers)

    assert (cost and Decimal(cost), source) == (found.cost, found.cost_source)


def test_litellm_reports_units_tier_and_cost() -> None:
    """LiteLLM has converted the details to OpenAI's form. Its price is a report."""
    details = {
        "prompt_tokens_details": {"audio_tokens": 9},
        "server_tool_use": {"web_search_requests": 2},
    }
    found = litellm_event(
        "answered",
        metadata={"usage_object": details, "user_api_key_hash": "k"},
        response={"service_tier": "flex"},
    )

    assert {"input_audio_tokens": 9, "web_searches": 2} == found.units
    assert ("flex", False, "reported") == (found.service_tier, found.batch, found.cost_source)


def test_litellm_reports_the_end_of_a_batch() -> None:
    """It prices a batch job when the job is fetched."""
    found = litellm_event("answered", call_type="aretrieve_batch", response_cost=None)

    assert ("batch", True, "") == (found.service_tier, found.batch, found.cost_source)

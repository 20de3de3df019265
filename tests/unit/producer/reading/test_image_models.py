"""The model of OpenAI's image tool: its usage is beside that of the model that called it."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.support.usages import tally_of, usage_of
from tests.support.watched import Bench, answering
from usagepipe.producer.reading.framing.projection import Projection
from usagepipe.producer.reading.usage import Usage
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.prices import Pricer, builtin_book

MODEL = "gpt-image-1.5"
TOOL = {"type": "image_generation", "model": MODEL}
IMAGES = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 20, "image_tokens": 30},
    "output_tokens": 4_160,
    "output_tokens_details": {"text_tokens": 0, "image_tokens": 4_160},
    "total_tokens": 4_210,
}
NOTHING = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
UNITS = {"input_image_tokens": 30, "output_image_tokens": 4_160}
PART = Usage(MODEL, 50, 4_160, 4_210, units=UNITS)


def response(images: Any = IMAGES, tools: Any = (TOOL,)) -> dict[str, Any]:
    return {
        "object": "response",
        "model": "gpt-5",
        "output": [{"type": "image_generation_call"}],
        "tools": list(tools),
        "tool_usage": {"image_gen": images, "web_search": {"num_requests": 0}},
        "usage": {"input_tokens": 328, "output_tokens": 52, "total_tokens": 380},
    }


def test_image_model_is_a_part() -> None:
    """In JSON, in the last event of a stream, and where only the known paths are kept."""
    projected: list[object] = []
    Projection(projected.append).feed(json.dumps({"padding": [{}], **response()}).encode())
    expected = Usage("gpt-5", 328, 52, 380, parts=(PART,))

    assert expected == usage_of(response())
    assert expected == tally_of({"type": "response.completed", "response": response()})
    assert [expected] == [usage_of(document) for document in projected]


@pytest.mark.parametrize("images", [NOTHING, None, {}, 7])
def test_unused_image_tool_is_no_part(images: Any) -> None:
    """Most responses report zeros."""
    found = usage_of(response(images))

    assert found is not None
    assert () == found.parts


@pytest.mark.parametrize("tools", [(), ({"type": "image_generation"},), (TOOL | {"model": 7},)])
def test_image_model_without_a_name_is_named_like_its_tool(tools: Any) -> None:
    """Its tokens count, under a name that has no price."""
    found = usage_of(response(tools=tools))

    assert found is not None
    assert ["image_generation"] == [part.model for part in found.parts]


def test_bad_counts_of_an_image_model_are_its_own() -> None:
    """The numbers of the answering model stay good."""
    found = usage_of(response(IMAGES | {"input_tokens": -5}))

    assert found is not None
    assert ("complete", ["inconsistent"]) == (
        found.usage_quality,
        [part.usage_quality for part in found.parts],
    )


@pytest.mark.parametrize("value", [7, {}, {"model": [], "output_tokens": 3}])
def test_our_own_name_in_an_answer_breaks_nothing(value: Any) -> None:
    """The name under which the image model's usage is kept may be in an answer."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "usage of the image model": value}

    found = usage_of({"usage": usage, "choices": []})

    assert found is not None
    assert 3 == found.total_tokens


def test_image_model_has_its_own_price() -> None:
    """20 x 5 + 30 x 8 + 4,160 x 32 = 133,460 millionths of a dollar, by hand."""
    bench = Bench(answering(response()), provider="openai")

    bench.get()

    events: list[UsageEvent] = bench.recorder.events
    assert [("gpt-5", 0), (MODEL, 1)] == [(event.model, event.part) for event in events]
    price = Pricer(builtin_book()).price(events[1])
    assert Decimal("0.13346") * 10**12 == price

"""Each shape declares what it reads; the pre-filter and the projection take it from there."""

import json
from typing import Any, ClassVar

import pytest

from usagepipe.producer.reading.framing import prefilter
from usagepipe.producer.reading.framing.prefilter import marks_beside_patterns, may_matter
from usagepipe.producer.reading.framing.projection import Projection, all_paths
from usagepipe.producer.reading.shapes import SHAPES, Shape
from usagepipe.producer.reading.shapes.bedrock import METRICS
from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.shape import Fields, Paths
from usagepipe.producer.reading.usage import Usage

TOOL_CALLS: Fields = {
    "output": [{"type": "web_search_call", "action": {"type": "open_page"}}, {"type": "message"}],
    "tool_usage": {"web_search": {"num_requests": 2}},
}
# Answers and events of each shape with all fields that its methods read.
EXAMPLES: dict[str, list[Fields]] = {
    "Anthropic": [
        {"type": "message", "usage": {"input_tokens": 3, "service_tier": "batch"}},
        {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 3}}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 5},
        },
    ],
    "Responses": [
        {"type": "response.completed", "response": {"id": "r", "usage": {"input_tokens": 3}}},
        {
            "type": "response.completed",
            "response": {"usage": {"input_tokens": 3}, "service_tier": "flex", **TOOL_CALLS},
        },
    ],
    "Gemini": [
        {
            "responseId": "r",
            "usageMetadata": {"promptTokenCount": 3},
            "candidates": [{"finishReason": "STOP"}],
        },
        {
            "usageMetadata": {"promptTokenCount": 3, "serviceTier": "priority"},
            "modelVersion": "gemini-3",
            "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}],
        },
        {"usageMetadata": {"promptTokenCount": 3}, "promptFeedback": {"blockReason": "SAFETY"}},
        {"response": {"responseId": "r", "usageMetadata": {"promptTokenCount": 3}}},
    ],
    "Interactions": [
        {"usage": {"total_input_tokens": 3}, "service_tier": "flex"},
        {
            "event_type": "interaction.completed",
            "interaction": {"service_tier": "flex", "usage": {"total_input_tokens": 3}},
        },
        {
            "event_type": "interaction.completed",
            "interaction": {"id": "i", "usage": {"total_input_tokens": 3}},
        },
        {"event_type": "step.stop", "metadata": {"total_usage": {"total_input_tokens": 3}}},
        {"event_type": "step.stop", "metadata": {"usage": {"total_input_tokens": 3}}},
    ],
    "Cohere": [
        {"usage": {"tokens": {"input_tokens": 3}}},
        {"meta": {"billed_units": {"input_tokens": 3}, "cached_tokens": 1}},
        {"meta": {"billed_units": {"search_units": 1}}},
        {"type": "message-end", "delta": {"usage": {"tokens": {"input_tokens": 3}}}},
        {
            "event_type": "stream-end",
            "response": {"meta": {"tokens": {"input_tokens": 3}, "billed_units": {}}},
        },
    ],
    "Converse": [
        {"usage": {"inputTokens": 3, "outputTokens": 5}, "serviceTier": {"type": "flex"}},
        {"metadata": {"usage": {"inputTokens": 3}}},
    ],
    "OpenAI": [
        {"usage": {"prompt_tokens": 3}, "choices": [{"finish_reason": "stop"}]},
        {"object": "chat.completion.chunk", "x_groq": {"usage": {"prompt_tokens": 3}}},
        {"choices": [{"usage": {"prompt_tokens": 3}}]},
        {"object": "response", "usage": {"input_tokens": 3}, "service_tier": "flex", **TOOL_CALLS},
        {"usage_info": {"pages_processed": 3}, "document_annotation": "{}"},
        {"type": "image_generation.completed", "usage": {"input_tokens": 3}},
        {"usage": {"total_tokens": 3}, "object": "list"},
        {"usage": {"total_tokens": 3}, "results": [{"relevance_score": 1}]},
        {"usage": {"total_tokens": 3}, "embeddings": [[1]]},
    ],
    "InvokeModel": [
        {METRICS: {"inputTokenCount": 3, "outputTokenCount": 5}},
        {"inputTextTokenCount": 3, "results": [{"tokenCount": 5}]},
        {"inputTextTokenCount": 3, "totalOutputTextTokenCount": 5},
        {"prompt_token_count": 3, "generation_token_count": 5},
    ],
    "Ollama": [{"prompt_eval_count": 3, "done": True}, {"eval_count": 5}],
}
KNOWN = [(shape, answer) for shape in SHAPES for answer in EXAMPLES[type(shape).__name__]]
every_example = pytest.mark.parametrize(
    ("shape", "answer"), KNOWN, ids=[f"{type(s).__name__}-{next(iter(a))}" for s, a in KNOWN]
)

# The id of a chat is in each of its chunks, and only a single document is ever projected.
UNKEPT = {"id"}


class Newcomer(Shape):
    """A format with names that no other one has."""

    places = frozenset(("consumed",))
    paths: ClassVar[Paths] = {"consumed": {"in": True, "out": True}}
    marks = ("consumed",)
    sides = ("in", "out")

    def usage(self, answer: Fields) -> Fields | None:
        found = answer.get("consumed")
        return found if isinstance(found, dict) else None

    def normal(self, counts: Counts) -> Usage:
        prompt, completion = counts.first("in"), counts.first("out")
        return Usage("", prompt, completion, prompt + completion)


class Watched(dict[str, Any]):
    """An answer that notes which of its names are read."""

    def __init__(self, answer: Fields) -> None:
        super().__init__(answer)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.read.add(str(name))
        return super().__contains__(name)


def read_by(shape: Shape, answer: Fields) -> tuple[object, ...]:
    """All that a shape says of an answer, but for the id."""
    ends, closes, begins = shape.ends(answer), shape.closes(answer), shape.begins(answer)
    usage = shape.usage(answer) or {}
    return usage, shape.units(usage), shape.tier(answer, usage), ends, closes, begins


def projected(answer: Fields) -> Fields:
    found: list[Any] = []
    Projection(found.append).feed(json.dumps(answer).encode())
    return found[0]  # type: ignore[no-any-return]


def test_every_shape_has_examples() -> None:
    """A shape without an example here would not be tested below."""
    assert [type(shape).__name__ for shape in SHAPES] == list(EXAMPLES)


@every_example
def test_examples_have_usage_at_a_declared_place(shape: Shape, answer: Fields) -> None:
    """The shape finds usage in it, and the extraction would ask the shape."""
    assert shape.usage(answer)
    assert not shape.places.isdisjoint(answer)


@every_example
def test_usage_passes_the_prefilter(shape: Shape, answer: Fields) -> None:
    """An event that the pre-filter skips would silently have no usage."""
    assert may_matter(json.dumps(answer).encode())


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)
def test_marks_pass_the_prefilter(shape: Shape) -> None:
    """Every event with one of the marks is parsed."""
    assert [] == [mark for mark in shape.marks if not may_matter(f'{{"{mark}": 1}}'.encode())]


@every_example
def test_examples_have_a_mark(shape: Shape, answer: Fields) -> None:
    """The declared marks are in each event that has usage."""
    text = json.dumps(answer)

    assert any(f'"{mark}"' in text for mark in shape.marks)


@every_example
def test_usage_passes_the_projection(shape: Shape, answer: Fields) -> None:
    """What is kept of a document that is too large is read like the whole document."""
    assert read_by(shape, answer) == read_by(shape, projected(answer))


@every_example
def test_a_shape_declares_all_that_it_reads(shape: Shape, answer: Fields) -> None:
    """Names at the top that a shape reads are among its paths, else a projection loses them."""
    watched = Watched(answer)

    read_by(shape, watched)
    shape.part(watched)

    assert set() == watched.read - set(shape.paths) - UNKEPT


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)
def test_shapes_with_ids_declare_their_places(shape: Shape) -> None:
    """A shape that finds ids says where, among its places."""
    has_ids = type(shape).part is not Shape.part

    assert shape.places_of_id <= shape.places
    assert has_ids or not shape.places_of_id


def test_a_new_shape_needs_no_other_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks that no pattern finds, and paths that no other shape has, pass by its declaration."""
    event = b'{"consumed": {"in": 3, "out": 5}}'
    skipped = not may_matter(event)

    monkeypatch.setattr(prefilter, "_other_marks", marks_beside_patterns([*SHAPES, Newcomer()]))

    assert skipped
    assert may_matter(event)
    assert {"in": True, "out": True} == all_paths([*SHAPES, Newcomer()])["consumed"]


def test_the_patterns_know_all_marks_of_today() -> None:
    """A search for single marks after the patterns would be slower."""
    assert () == marks_beside_patterns(SHAPES)

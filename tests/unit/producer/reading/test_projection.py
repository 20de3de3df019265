"""JSON that is too large to be held: what is kept of it, and that nothing else is."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.usages import usage_of
from usagepipe.producer.reading.framing.projection import MAX_ITEMS, MAX_KEPT_BYTES, Projection
from usagepipe.producer.reading.usage import Usage


def projected(text: str, size: int = 1) -> tuple[list[Any], bool]:
    found: list[Any] = []
    projection = Projection(found.append)
    raw = text.encode()
    for start in range(0, len(raw), size):
        projection.feed(raw[start : start + size])
    return found, projection.whole


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_known_paths_are_kept_and_nothing_else(size: int) -> None:
    """Names inside content, texts that look like JSON, and escapes change nothing."""
    answer = {
        "id": "x" * 99,
        "model": 'a "model" \\ \u00fc',
        "choices": [{"message": {"content": '{"usage": {"prompt_tokens": 9}}', "usage": {"a": 1}}}],
        "output": [{"usage": {"prompt_tokens": 9}}, [[]], {}, "]}\\\\"],
        "usage": {"prompt_tokens": 3, "details": {"deep": [1, {"text": "}"}]}},
    }

    found = projected(json.dumps(answer), size)

    kept = {"model": answer["model"], "choices": [{}], "output": [{}, {}]}
    kept["usage"] = answer["usage"]
    assert ([kept], True) == found


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_names_spelled_with_escapes_are_names(size: int) -> None:
    """JSON may write any letter as an escape."""
    found, _ = projected(r'{"\u0075sage": {"prompt_tokens": 3}}', size)

    assert [{"usage": {"prompt_tokens": 3}}] == found


def test_items_of_an_array_are_documents_at_once() -> None:
    """An array at the top is a stream: each item is handed on when it ends, cut or not."""
    found = projected('[{"model": "a"},\n {"model": "b"}, {"model": "c"')

    assert ([{"model": "a"}, {"model": "b"}], False) == found


@pytest.mark.parametrize(
    "text",
    ['{"usage": {}', '{"usage": {"a": 1}]', '{"usage": [}}', "}", '{"a": "', "nothing", "[{]"],
)
def test_broken_json_is_not_whole(text: str) -> None:
    """What does not end as it began is known to be broken."""
    assert projected(text)[1] is False


def test_values_over_their_bound_are_let_go() -> None:
    """Neither a usage, a name nor a list can grow without bound."""
    large = "x" * MAX_KEPT_BYTES
    answer = {large: 1, "model": large, "usage": {large: 1}, "choices": [{}] * 1_000, "type": "t"}

    found, whole = projected(json.dumps(answer), 1_000)

    assert ([{"choices": [{}] * MAX_ITEMS, "type": "t"}], True) == (found, whole)


NAMES = """
usage usageMetadata message response choices x_groq model type prompt_tokens output_tokens
input_tokens totalTokenCount prompt_eval_count meta billed_units done delta results
inputTextTokenCount other ü
"""
names = st.sampled_from(NAMES.split())
scalars = (
    st.none()
    | st.booleans()
    | st.integers(0, 99)
    | st.sampled_from(
        ["message", "response.completed", "message_delta", "{[", '"', "\\", "ü\u2028"]
    )
)
answers = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=30,
)


@settings(deadline=None, max_examples=500)  # a shared machine may pause
@given(st.dictionaries(names, answers, max_size=6), st.booleans(), st.data())
def test_usage_of_a_projection_is_the_usage_of_the_answer(
    answer: dict[str, Any], ascii_only: bool, data: st.DataObject
) -> None:
    """The parts that are left out hold no usage, with cuts anywhere."""
    raw = json.dumps(answer, ensure_ascii=ascii_only).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    found: list[Usage | None] = []
    projection = Projection(lambda document: found.append(usage_of(document)))

    for start, end in pairwise([0, *cuts, len(raw)]):
        projection.feed(raw[start:end])

    assert [usage_of(answer)] == found


def test_usage_that_is_null_changes_nothing() -> None:
    """Neither here nor in the projection does it make a second source of usage."""
    answer: dict[str, Any] = {"inputTextTokenCount": [], "usageMetadata": {}, "usage": None}
    (projection,), _ = projected(json.dumps(answer))

    assert usage_of(answer) == usage_of(projection)

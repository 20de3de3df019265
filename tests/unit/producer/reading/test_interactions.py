"""Gemini's Interactions API: JSON answers, streams of both generations of events, agents."""

import json
from typing import Any

import pytest

from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.framing.prefilter import may_matter
from usagepipe.producer.reading.usage import Usage
from usagepipe.producer.watching.body_prefix import BodyPrefix

USAGE = {
    "total_input_tokens": 40,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 40}],
    "total_cached_tokens": 16,
    "total_output_tokens": 20,
    "total_tool_use_tokens": 10,
    "tool_use_tokens_by_modality": [{"modality": "audio", "tokens": 4}],
    "total_thought_tokens": 100,
    "total_tokens": 170,
}
UNITS = {"input_tool_tokens": 10, "input_audio_tool_tokens": 4, "input_audio_tokens": 4}
FOUND = Usage("gemini-3-flash-preview", 50, 120, 170, 16, reasoning_tokens=100, units=UNITS)
INTERACTION = {"id": "v1_x", "object": "interaction", "model": FOUND.model}
SHORT = 24  # bytes: every body is over this bound


def read(content_type: str, body: bytes, limit: int = 4_096, complete: bool = True) -> Usage | str:
    reader = AnswerReader(content_type, "", limit)
    for at in range(len(body)):
        reader.feed(body[at : at + 1])
    return reader.read(complete)


def stream(*events: dict[str, Any]) -> bytes:
    written = (f"event: {e['event_type']}\ndata: {json.dumps(e)}\n\n" for e in events)
    return "".join(written).encode()


@pytest.mark.parametrize("limit", [SHORT, 4_096])
def test_interaction_is_read(limit: int) -> None:
    """Tool use is input, thoughts are output, and what was cached is a part of the input."""
    answer = INTERACTION | {"status": "completed", "steps": [{"type": "thought"}], "usage": USAGE}

    assert FOUND == read("application/json", json.dumps(answer).encode(), limit)


@pytest.mark.parametrize("limit", [SHORT, 4_096])
@pytest.mark.parametrize(
    "words", [("created", "completed", "step"), ("start", "complete", "content")]
)
def test_stream_of_an_interaction_is_read(words: tuple[str, str, str], limit: int) -> None:
    """The last event has the usage of all, by its name of today and by the older one."""
    first, last, piece = words
    body = stream(
        {"event_type": f"interaction.{first}", "interaction": INTERACTION},
        *({"event_type": f"{piece}.delta", "index": 0, "delta": {"text": "a"}} for _ in range(5)),
        {"event_type": f"interaction.{last}", "interaction": INTERACTION | {"usage": USAGE}},
    )

    assert FOUND == read("text/event-stream", body, limit)


@pytest.mark.parametrize("limit", [SHORT, 4_096])
@pytest.mark.parametrize(
    "reported",
    [
        {"usage": USAGE, "step_usage": {"total_input_tokens": 7}},
        {"metadata": {"total_usage": USAGE}},
    ],
)
def test_stream_that_is_cut_keeps_the_usage_until_then(
    reported: dict[str, Any], limit: int
) -> None:
    """Each step's end may have the usage so far, at the top or in its metadata."""
    body = stream(
        {"event_type": "interaction.created", "interaction": INTERACTION},
        {"event_type": "step.stop", "index": 0, **reported},
    )

    found = read("text/event-stream", body, limit, complete=False)

    assert FOUND._replace(usage_quality="partial") == found


def test_agent_stands_for_the_model() -> None:
    """An interaction is with a model or with an agent, in the request and in the answer."""
    agent = "deep-research-preview"
    answer = {"object": "interaction", "agent": agent, "status": "completed", "usage": USAGE}
    prefix = BodyPrefix("application/json")
    prefix.note(json.dumps({"agent": agent, "input": "why", "background": True}).encode())

    assert FOUND._replace(model=agent) == read("application/json", json.dumps(answer).encode())
    assert agent == prefix.read().model


def test_interaction_in_the_background_has_no_usage_yet() -> None:
    """It is answered at once, and done later."""
    answer = INTERACTION | {"status": "in_progress"}

    assert "no_usage" == read("application/json", json.dumps(answer).encode())


@pytest.mark.parametrize("name", ["total_input_tokens", "total_output_tokens"])
def test_counts_that_are_left_out_are_zero(name: str) -> None:
    """An answer names what it has."""
    answer = {"usage": {name: 7}}
    prompt, completion = (7, 0) if "input" in name else (0, 7)

    assert Usage("", prompt, completion, 7) == read("application/json", json.dumps(answer).encode())
    assert may_matter(json.dumps(answer).encode())

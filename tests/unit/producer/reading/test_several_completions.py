"""Streams with several completions: each counts once."""

import json
from decimal import Decimal

import pytest

from tests.support.completions import (
    DONE,
    Event,
    chat,
    chunk,
    claude,
    counts,
    gemini,
    interaction,
    last,
    read,
    response,
    stream,
    sums,
)
from tests.support.usages import tally_of
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage

SEVERAL = {
    "chats": [*chat("c1", 100, 20), *chat("c2", 150, 30), *chat("c3", 190, 5)],
    "chats alike": [*chat("c1", 100, 20), *chat("c2", 100, 20), *chat("c3", 240, 15)],
    "usage in the last chunk with a choice": [
        chunk("c1"),
        chunk("c1", "tool_calls", counts(100, 20)),
        chunk("c2"),
        chunk("c2", "stop", counts(340, 35)),
    ],
    "usage in each chunk": [
        *(chunk("c1", None, counts(100, n)) for n in range(1, 20)),
        last("c1", counts(100, 20)),
        *(chunk("c2", None, counts(340, n)) for n in range(1, 36)),
        last("c2", counts(340, 35)),
    ],
    # OpenRouter's last chunk has a choice that is open.
    "usage in a chunk that ends nothing": [
        chunk("c1"),
        chunk("c1", "tool_calls"),
        chunk("c1", None, counts(100, 20)),
        chunk("c2", "stop"),
        chunk("c2", None, counts(340, 35)),
    ],
    "a first chunk of the gateway's": [
        chunk("gateway"), *chat("c1", 100, 20), *chat("c2", 340, 35)
    ],
    "usage in a chunk without choices": [
        chunk("c1"),
        {"id": "c1", "object": "chat.completion.chunk", "usage": counts(100, 20)},
        chunk("c2"),
        {"id": "c2", "object": "chat.completion.chunk", "usage": counts(100, 35)},
        {"id": "c3", "object": "chat.completion.chunk", "usage": counts(240, 0)},
    ],
    "interactions": [*interaction("i1", 100, 20), *interaction("i2", 340, 35)],
    "zeros before the end": [
        *chat("c1", 100, 20), chunk("c2", None, counts(0, 0)), *chat("c2", 340, 35)
    ],
    "again": [*chat("c1", 100, 20), *chat("c2", 340, 35), last("c1", counts(100, 20))],
    "messages": [
        *claude("m1", {"input_tokens": 100, "output_tokens": 1}, 20),
        *claude("m2", {"input_tokens": 40, "cache_read_input_tokens": 300}, 35),
    ],
    "messages, the first one again": [
        *claude("m1", {"input_tokens": 100, "output_tokens": 1}, 20),
        *claude("m2", {"input_tokens": 340, "output_tokens": 1}, 35),
        *claude("m1", {"input_tokens": 100, "output_tokens": 1}, 20),
    ],
    "messages without ids": [
        *claude(None, {"input_tokens": 100, "output_tokens": 1}, 20),
        *claude(None, {"input_tokens": 340, "output_tokens": 1}, 35),
    ],
    "messages that begin with zeros": [
        *claude("m1", {"input_tokens": 100, "output_tokens": 1}, 20),
        *claude("m2", {"input_tokens": 0, "output_tokens": 0}, 35)[:2],
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": 340, "output_tokens": 35},
        },
        {"type": "message_stop"},
    ],
    "Gemini's": [*gemini("r1", 100, 1, 7, 20), *gemini("r2", 340, 9, 35)],
    "responses": [*response("r1", "completed", 100, 20), *response("r2", "completed", 340, 35)],
    "responses that ended otherwise": [
        *response("r1", "incomplete", 100, 20), *response("r2", "failed", 340, 35)
    ],
}  # fmt: skip


@pytest.mark.parametrize("events", SEVERAL.values(), ids=SEVERAL)
def test_completions_of_one_stream_add_up(events: list[Event]) -> None:
    """Each has its own id and usage, and cost its own tokens."""
    body = stream(*events, end=DONE)

    assert (440, 55, "complete") == sums(read(body))
    assert read(body) == read(body, pieces=10_000)
    assert read(body) == tally_of(*events)


def without_id(events: list[Event]) -> list[Event]:
    return [{k: v for k, v in event.items() if k != "id"} for event in events]


# Chats in one stream, each followed by `[DONE]`.
ENDED = {
    "without ids": [without_id(chat("", 100, 20)), without_id(chat("", 340, 35))],
    "with one id": [chat("c", 100, 20), chat("c", 340, 35)],
    "with empty ids": [chat("", 100, 20), chat("", 340, 35)],
    "with ids of their own": [chat("c1", 100, 20), chat("c2", 340, 35)],
    "alike": [chat("c", 200, 25), chat("c", 200, 25), chat("c", 40, 5)],
    "with a prompt and an output that grow": [chat("c", 20, 5), chat("c", 420, 50)],
    "of one chunk": [
        [chunk("c", "stop", counts(100, 20))], [chunk("c", "stop", counts(340, 35))]
    ],
    "with usage in each chunk": [
        without_id([chunk("", None, counts(100, n)) for n in range(1, 21)]),
        without_id([chunk("", None, counts(340, n)) for n in range(1, 36)]),
    ],
    "with usage alone": [[last("c", counts(100, 20))], [last("c", counts(340, 35))]],
    "with usage that is sent twice": [
        [*chat("c", 100, 20), last("c", counts(100, 20))],
        [*chat("c", 340, 35), last("c", counts(340, 35))],
    ],
    "without usage in one": [chat("c", 100, 20), chat("c", 0, 0)[:3], chat("c", 340, 35)],
    "of several kinds": [
        without_id(chat("", 100, 20)), chat("c1", 300, 30), without_id(chat("", 40, 5))
    ],
}  # fmt: skip


@pytest.mark.parametrize("chats", ENDED.values(), ids=ENDED)
def test_chats_that_each_have_their_end_add_up(chats: list[list[Event]]) -> None:
    """What follows `[DONE]` is another completion, also without an id of its own."""
    body = b"".join(stream(*events, end=DONE) for events in chats)

    assert (440, 55, "complete") == sums(read(body))
    assert read(body) == read(body, pieces=10_000)


REPEATED = {
    "the end": DONE,
    "the usage": stream(last("c", counts(9, 4)), end=DONE),
    "the usage with a cost": stream(last("c", counts(9, 4, cost=0)), end=DONE),
    "the usage with a detail": stream(
        last("c", counts(9, 4, completion_tokens_details={"reasoning_tokens": 1})), end=DONE
    ),
    "the last chunk with a choice": stream(chunk("c", "stop", counts(9, 4)), end=DONE),
    "a usage of zeros": stream(chunk("c", None, counts(0, 0)), end=DONE),
    "a chunk without usage": stream(chunk("c", "stop"), end=DONE),
    "a comment": b": bye\n\n",
}


@pytest.mark.parametrize("again", REPEATED.values(), ids=REPEATED)
def test_repetition_after_the_end_adds_nothing(again: bytes) -> None:
    """Without a chunk of an answer before it, the same usage is that of the same completion."""
    body = stream(*chat("c", 9, 4), end=DONE) + again

    assert (9, 4, "complete") == sums(read(body))
    assert read(body) == read(body, pieces=10_000)


def test_repeated_usage_under_claudes_names_adds_nothing() -> None:
    """A chat's usage may have Anthropic's names, where the prompt has the cached tokens on top."""
    claudes = {"input_tokens": 2, "output_tokens": 4, "cache_read_input_tokens": 7}
    body = stream(chunk("c"), chunk("c", "stop"), last("c", claudes), end=DONE)

    assert (9, 4, "complete") == sums(read(body + stream(last("c", claudes), end=DONE)))


ONE = {
    "usage in each chunk": [chunk("c", None, counts(9, n)) for n in range(5)],
    "an id in each chunk": [
        *(chunk(f"c{n}", None, counts(9, n)) for n in range(5)), last("z", counts(9, 4))
    ],
    "an id in each chunk, twice at the end": [
        chunk("a"), chunk("b"), chunk("c", "stop", counts(9, 3)), last("d", counts(9, 4)),
    ],
    "an id in each chunk and a prompt that grows": [
        *(chunk(f"c{n}", None, counts(9, n)) for n in range(4)),
        chunk("z", "stop", counts(9, 4)),
    ],
    "no ids": [last("", counts(9, 3)), last("", counts(9, 4))],
    "ids that are none": [
        {"id": None, "choices": [], "usage": counts(9, 3)},
        {"id": 7, "choices": [], "usage": counts(9, 4)},
    ],
    "an id that comes late": [last("", counts(9, 3)), last("c", counts(9, 4))],
    "again": [*chat("c", 9, 4), last("c", counts(9, 4))],
    "a placeholder under another id": [*chat("c", 9, 4), last("z", counts(0, 0)), last("y", {})],
    "Gemini's": gemini("r", 9, 1, 2, 4),
    "Gemini's with an id in each chunk": [
        event | {"responseId": f"r{n}"} for n, event in enumerate(gemini("", 9, 1, 2, 4))
    ],
    "a start that comes twice": [
        claude("m", {"input_tokens": 9, "output_tokens": 1}, 4)[0],
        *claude("m", {"input_tokens": 9, "output_tokens": 1}, 4),
    ],
    "a gateway's own start": [
        claude("x", {"input_tokens": 12, "output_tokens": 1}, 4)[0],
        *claude("m", {"input_tokens": 9, "output_tokens": 1}, 4),
    ],
    "a message that is again": [
        *claude("m", {"input_tokens": 9, "output_tokens": 1}, 4),
        claude("m", {"input_tokens": 9, "output_tokens": 1}, 4)[2],
    ],
    "a response in progress under another id": [
        response("a", "in_progress", 9, 1)[2], *response("b", "completed", 9, 4)
    ],
}  # fmt: skip


@pytest.mark.parametrize("events", ONE.values(), ids=ONE)
def test_counts_of_one_completion_are_cumulative(events: list[Event]) -> None:
    """Within one completion the last usage counts, even if it comes often or under other ids."""
    assert (9, 4, "complete") == sums(read(stream(*events, end=DONE)))
    assert (9, 4, "complete") == sums(tally_of(*events))


def test_costs_and_models_of_several_completions() -> None:
    """Costs add up exactly, and the model is the one that answered last."""
    first = last("c1", counts(100, 20, cost=Decimal("0.1")), model="small")
    second = last("c2", counts(340, 35, cost=Decimal("0.0000000001")), model="large")

    expected = Usage("large", 440, 55, 495, cost=Decimal("0.1000000001"))
    assert expected == tally_of(first, second)


@pytest.mark.parametrize("kept", [5, 6])
def test_stream_that_is_cut_in_a_later_completion_is_partial(kept: int) -> None:
    """The first completion's end is not the stream's."""
    events = [
        *claude("m1", {"input_tokens": 100, "output_tokens": 1}, 20),
        *claude("m2", {"input_tokens": 340, "output_tokens": 1}, 35),
    ]

    assert (440, 21, "partial") == sums(read(stream(*events[:kept]), complete=False))


def test_message_that_begins_without_usage_is_another() -> None:
    """Some servers put all usage into the delta."""
    delta = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": 340, "output_tokens": 35},
    }
    first = claude("m1", {"input_tokens": 100, "output_tokens": 1}, 20)
    begins = {"type": "message_start", "message": {"id": "m2", "model": "claude"}}
    text = [first[1]] * 3

    body = stream(*first, *text, begins, *text, delta)

    assert (440, 55, "complete") == sums(read(body))
    assert (100, 20, "partial") == sums(read(stream(*first, *text, begins)))


def test_array_of_completions_adds_up() -> None:
    """An array of answers is a stream too, even if its label is that of a JSON answer."""
    answers = [last(f"c{n}", counts(10 * n, n)) for n in range(1, 4)]
    reader = AnswerReader("application/json", "", 256 * 1024)
    reader.feed(json.dumps(answers).encode())

    assert (60, 6, "complete") == sums(reader.read())

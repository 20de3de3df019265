"""Streams with several completions, several sources of usage, or several models."""

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.usage import Usage

Event = dict[str, Any]
DONE = b"data: [DONE]\n\n"
METRICS = "amazon-bedrock-invocationMetrics"


def stream(*events: Event, end: bytes = b"") -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events) + end


def read(body: bytes, pieces: int = 1, *, complete: bool = True) -> Usage | str:
    reader = AnswerReader("text/event-stream", "", 256 * 1024)
    cuts = [len(body) * part // pieces for part in range(pieces + 1)]
    for begin, end in pairwise(cuts):
        reader.feed(body[begin:end])
    return reader.read(complete)


def tally_of(*events: Event) -> Usage | None:
    tally = Tally()
    for event in events:
        tally.add(event)
    tally.end()
    return tally.usage()


def sums(usage: Usage | str | None) -> tuple[int, int, str]:
    assert isinstance(usage, Usage)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    return usage.prompt_tokens, usage.completion_tokens, usage.usage_quality


def chunk(chat: str, finish: str | None = None, usage: Any = None, model: str = "m") -> Event:
    choices = [{"index": 0, "delta": {"content": "a"}, "finish_reason": finish}]
    return {"id": chat, "model": model, "choices": choices, "usage": usage}


def last(chat: str, usage: Any, model: str = "m") -> Event:
    return {"id": chat, "model": model, "choices": [], "usage": usage}


def counts(prompt: int, completion: int, **more: Any) -> Event:
    total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total} | more


def chat(name: str, prompt: int, completion: int) -> list[Event]:
    """A completion as OpenAI streams it: the usage comes after the finish, in a last chunk."""
    return [chunk(name), chunk(name), chunk(name, "stop"), last(name, counts(prompt, completion))]


def claude(name: str | None, usage: Any, output: int, model: str = "claude") -> list[Event]:
    message = {"id": name, "model": model, "usage": usage}
    return [
        {"type": "message_start", "message": {k: v for k, v in message.items() if v is not None}},
        {"type": "content_block_delta", "delta": {"text": "a"}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": output},
        },
        {"type": "message_stop"},
    ]


def gemini(name: str, prompt: int, *outputs: int) -> list[Event]:
    return [
        {
            "responseId": name,
            "modelVersion": "g",
            "candidates": [{"finishReason": "STOP"} if output == outputs[-1] else {}],
            "usageMetadata": {
                "promptTokenCount": prompt,
                "candidatesTokenCount": output,
                "totalTokenCount": prompt + output,
            },
        }
        for output in outputs
    ]


def response(name: str, kind: str, prompt: int, completion: int) -> list[Event]:
    usage = {
        "input_tokens": prompt,
        "output_tokens": completion,
        "total_tokens": prompt + completion,
    }
    return [
        {"type": "response.created", "response": {"id": name, "model": "m", "usage": None}},
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": f"response.{kind}", "response": {"id": name, "model": "m", "usage": usage}},
    ]


def interaction(name: str, prompt: int, completion: int) -> list[Event]:
    usage = {"total_input_tokens": prompt, "total_output_tokens": completion}
    ended = {"id": name, "model": "m", "usage": usage}
    return [
        {"event_type": "interaction.created", "interaction": {"id": name, "model": "m"}},
        {"event_type": "interaction.completed", "interaction": ended},
    ]


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
    """However often and under whatever ids the usage comes, the last one has it all."""
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


# Two sources of usage in one answer.


def metrics(fresh: int, output: int, **cache: int) -> Event:
    return {"inputTokenCount": fresh, "outputTokenCount": output} | cache


CACHE = {"cacheReadInputTokenCount": 6_000, "cacheWriteInputTokenCount": 0}


def bedrock(start: Event, delta: Event, last_metrics: Event) -> list[Event]:
    return [
        {"type": "message_start", "message": {"id": "m", "model": "claude", "usage": start}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": delta},
        {"type": "message_stop", METRICS: last_metrics},
    ]


SOURCES = {
    "events know the output only": (
        bedrock({}, {"output_tokens": 75}, metrics(40, 75, **CACHE)), (6_040, 6_000, 75)
    ),
    "events know the input only": (
        bedrock({"input_tokens": 40}, {}, metrics(40, 75)), (40, 0, 75)
    ),
    "events say zero": (
        bedrock({"input_tokens": 0}, {"output_tokens": 75}, metrics(40, 75)), (40, 0, 75)
    ),
    "events know no cache": (
        bedrock({"input_tokens": 40}, {"output_tokens": 75}, metrics(40, 75, **CACHE)),
        (6_040, 6_000, 75),
    ),
    "events do not split": (
        bedrock({"input_tokens": 6_040}, {"output_tokens": 75}, metrics(40, 75, **CACHE)),
        (6_040, 6_000, 75),
    ),
    "events have a placeholder": (
        [*bedrock({"input_tokens": 40, "output_tokens": 1}, {}, metrics(40, 75))[::2]],
        (40, 0, 75),
    ),
    "both know all": (
        bedrock(
            {"input_tokens": 40, "cache_read_input_tokens": 6_000},
            {"output_tokens": 75},
            metrics(40, 75, **CACHE),
        ),
        (6_040, 6_000, 75),
    ),
    "metrics know less": (
        bedrock(
            {"input_tokens": 40, "cache_read_input_tokens": 6_000},
            {"output_tokens": 75},
            metrics(40, 70),
        ),
        (6_040, 6_000, 75),
    ),
    "metrics of zeros": (
        bedrock({"input_tokens": 40}, {"output_tokens": 75}, metrics(0, 0)), (40, 0, 75)
    ),
    "both in one event": (
        [
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 75},
                METRICS: metrics(40, 75, **CACHE),
            }
        ],
        (6_040, 6_000, 75),
    ),
    "a chat and metrics": (
        [last("c", {"completion_tokens": 75}), {METRICS: metrics(40, 75)}], (40, 0, 75)
    ),
    "Converse and metrics": (
        [{"usage": {"outputTokens": 75}, METRICS: metrics(40, 75)}], (40, 0, 75)
    ),
    "a total and metrics": (
        [{"usage": {"total_tokens": 115}, METRICS: metrics(40, 75)}], (40, 0, 75)
    ),
    "OpenAI's names and Gemini's": (
        [
            {
                "usage": {"completion_tokens": 75},
                "usageMetadata": {"promptTokenCount": 40, "totalTokenCount": 40},
            }
        ],
        (40, 0, 75),
    ),
    "OpenAI's names and Ollama's": (
        [{"usage": {"completion_tokens": 75}, "prompt_eval_count": 40, "eval_count": 75}],
        (40, 0, 75),
    ),
    "a later usage without the input": (
        [chunk("c", None, counts(40, 3)), last("c", {"completion_tokens": 75})], (40, 0, 75)
    ),
    "later usages without the output": (
        [
            {"usageMetadata": {"promptTokenCount": 40, "candidatesTokenCount": 75}},
            {"usageMetadata": {"promptTokenCount": 40, "totalTokenCount": 40}},
            {"usageMetadata": {"promptTokenCount": 40, "totalTokenCount": 40}},
        ],
        (40, 0, 75),
    ),
    "an empty usage and Groq's own": (
        [{"choices": [], "usage": {}, "x_groq": {"usage": counts(40, 75)}}], (40, 0, 75)
    ),
    "a usage of zeros and a choice's": (
        [{"usage": counts(0, 0), "choices": [{"usage": counts(40, 75)}]}], (40, 0, 75)
    ),
    "both sets of names, one of zeros": (
        [{"usage": counts(0, 0) | {"input_tokens": 40, "output_tokens": 75}}], (40, 0, 75)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("events", "expected"), SOURCES.values(), ids=SOURCES)
def test_fuller_numbers_are_not_hidden(events: list[Event], expected: tuple[int, ...]) -> None:
    """Input and output are each taken from the source that knows it, and never added."""
    for usage in (tally_of(*events), read(stream(*events, end=DONE))):
        assert isinstance(usage, Usage)
        found = usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens
        assert (*expected, "complete") == (*found, usage.usage_quality)
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_sources_that_differ_are_not_mixed_up() -> None:
    """Where the events know a side, the metrics change nothing of it."""
    typed = bedrock({"input_tokens": 5}, {"output_tokens": 7}, metrics(9, 12))

    assert Usage("claude", 5, 7, 12) == tally_of(*typed)


# The model that answered.


def fallback(model: str) -> Event:
    block = {"type": "fallback", "from": {"model": "claude-a"}, "to": {"model": model}}
    return {"type": "content_block_start", "index": 1, "content_block": block}


TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}
RUNS = [
    {"type": "message", "model": "claude-a", "input_tokens": 500, "output_tokens": 3},
    {"type": "fallback_message", "model": "claude-b", "input_tokens": 412, "output_tokens": 264},
]


@pytest.mark.parametrize("block", [True, False])
@pytest.mark.parametrize("iterations", [RUNS, None])
def test_model_after_a_fallback_is_the_one_that_answered(
    block: bool, iterations: list[Event] | None
) -> None:
    """The start names the model that declined, the block and the iterations the other."""
    first, _, delta, stop = claude(
        "m", {"input_tokens": 412, "output_tokens": 1}, 264, model="claude-a"
    )
    delta["usage"]["iterations"] = iterations
    between = [fallback("claude-b")] if block else []
    body = stream(first, TEXT, TEXT, TEXT, *between, TEXT, delta, stop)

    answered = "claude-b" if block or iterations else "claude-a"
    assert Usage(answered, 412, 264, 676) == read(body)
    assert read(body) == read(body, pieces=10_000)


def test_model_of_a_stream_that_is_cut_after_a_fallback() -> None:
    """The block names it before any usage does. Of several fallbacks the last one answers."""
    first = claude("m", {"input_tokens": 412, "output_tokens": 1}, 264, model="claude-a")[0]
    events = [first, TEXT, TEXT, fallback("claude-b"), TEXT, fallback("claude-c"), TEXT]

    usage = read(stream(*events), complete=False)

    assert isinstance(usage, Usage)
    assert ("claude-c", "partial") == (usage.model, usage.usage_quality)


def test_text_that_speaks_of_a_fallback_changes_no_model() -> None:
    """Only the block at its place counts."""
    first, _, delta, stop = claude("m", {"input_tokens": 9}, 4, model="claude-a")
    text = {"type": "text_delta", "text": json.dumps(fallback("claude-b"))}
    says = {"type": "content_block_delta", "index": 0, "delta": text}
    empty = {"type": "content_block_start", "content_block": {"type": "fallback", "to": None}}

    assert Usage("claude-a", 9, 4, 13) == read(stream(first, says, TEXT, says, empty, delta, stop))


def test_model_beside_the_usage_is_the_one_that_answered() -> None:
    """A gateway that goes on with another model names it in later chunks."""
    events = [chunk("c", model="a"), chunk("c", model="a"), last("c", counts(9, 4), model="b")]

    assert Usage("b", 9, 4, 13) == read(stream(*events, end=DONE))
    assert Usage("a", 9, 4, 13) == read(stream(*events[:2], last("c", counts(9, 4), model="")))


ROUTED = {"promptRouter": {"invokedModelId": "arn:aws:bedrock:eu::foundation-model/claude-b"}}


@pytest.mark.parametrize("limit", [16, 256 * 1024])
def test_model_that_a_prompt_router_chose(limit: int) -> None:
    """Bedrock's Converse names no model, but its router's choice."""
    body = {"usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}, "trace": ROUTED}
    reader = AnswerReader("application/json", "", limit)
    reader.feed(json.dumps(body).encode())

    assert Usage("claude-b", 9, 4, 13) == reader.read()


def test_array_of_completions_adds_up() -> None:
    """An array of answers is a stream too, whatever its label says."""
    answers = [last(f"c{n}", counts(10 * n, n)) for n in range(1, 4)]
    reader = AnswerReader("application/json", "", 256 * 1024)
    reader.feed(json.dumps(answers).encode())

    assert (60, 6, "complete") == sums(reader.read())


@pytest.mark.parametrize("limit", [16, 256 * 1024])
def test_model_of_a_json_answer_after_a_fallback(limit: int) -> None:
    """Also where a gateway puts the requested model's name into the answer."""
    usage = {"input_tokens": 412, "output_tokens": 264, "iterations": RUNS}
    body = {"type": "message", "model": "claude-a", "content": [], "usage": usage}
    reader = AnswerReader("application/json", "", limit)
    reader.feed(json.dumps(body).encode())

    assert Usage("claude-b", 412, 264, 676) == reader.read()

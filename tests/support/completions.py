"""Events of completions as providers stream them, and how a test reads them."""

import json
from itertools import pairwise
from typing import Any

from usagepipe.producer.reading.answers import AnswerReader
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

"""What the stub provider answers, in the shapes of OpenAI and Anthropic: the same text and usage
each time, as JSON or as the events of a stream.

A stream's usage stands where the real ones have it: at OpenAI in the last event, of a chat only if
it was asked for; at Anthropic the input in the first event, and the output in the last but one.
"""

import json
from typing import Any, Final

MODEL: Final = "gpt-4o-mini-2024-07-18"
CLAUDE: Final = "claude-sonnet-4-5-20250929"
WORDS: Final = ("hi ",) * 5
TEXT: Final = "".join(WORDS)
Answer = dict[str, Any]

CHAT_USAGE: Final = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920},
    "completion_tokens_details": {"reasoning_tokens": 200},
}
RESPONSE_USAGE: Final = {
    "input_tokens": 328,
    "input_tokens_details": {"cached_tokens": 256},
    "output_tokens": 1052,
    "output_tokens_details": {"reasoning_tokens": 832},
    "total_tokens": 1380,
}
MESSAGE_USAGE: Final = {
    "input_tokens": 25,
    "cache_creation_input_tokens": 10,
    "cache_read_input_tokens": 100,
    "output_tokens": 15,
}
FIRST_OUTPUT_TOKENS: Final = 1  # what Anthropic's first event counts


def chat() -> Answer:
    """OpenAI's `/v1/chat/completions`."""
    message = {"role": "assistant", "content": TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return _chat("chat.completion", choices=[choice], usage=CHAT_USAGE)


def chat_events(*, with_usage: bool) -> list[str]:
    """The same as a stream."""
    chunks = [_delta({"content": word}, None) for word in WORDS] + [_delta({}, "stop")]
    if with_usage:
        chunks.append(_chat("chat.completion.chunk", choices=[], usage=CHAT_USAGE))
    return [*map(_event, chunks), "data: [DONE]\n\n"]


def _delta(delta: Answer, finish_reason: str | None) -> Answer:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _chat("chat.completion.chunk", choices=[choice])


def _chat(kind: str, **more: Any) -> Answer:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": MODEL, **more}


def response() -> Answer:
    """OpenAI's `/v1/responses`."""
    return _response("completed", [_item("completed", TEXT)], RESPONSE_USAGE)


def response_events() -> list[str]:
    """The same as a stream."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    begun = _response("in_progress", [], None)
    reported: list[Answer] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": _item("in_progress")},
        {"type": "response.content_part.added", **place, "part": _part("")},
        *({"type": "response.output_text.delta", **place, "delta": word} for word in WORDS),
        {"type": "response.output_text.done", **place, "text": TEXT},
        {"type": "response.completed", "response": response()},
    ]
    return [_typed_event(each | {"sequence_number": n}) for n, each in enumerate(reported)]


def _response(status: str, output: list[Answer], usage: Answer | None) -> Answer:
    return {
        **{"id": "resp_1", "object": "response", "created_at": 1, "status": status},
        **{"model": MODEL, "output": output, "usage": usage, "error": None},
        **{"parallel_tool_calls": True, "tool_choice": "auto", "tools": []},
    }


def _item(status: str, text: str | None = None) -> Answer:
    content = [] if text is None else [_part(text)]
    kind = {"id": "msg_1", "type": "message", "role": "assistant"}
    return {**kind, "status": status, "content": content}


def _part(text: str) -> Answer:
    return {"type": "output_text", "annotations": [], "text": text}


def message() -> Answer:
    """Anthropic's `/v1/messages`."""
    return _message([{"type": "text", "text": TEXT}], "end_turn", MESSAGE_USAGE)


def message_events() -> list[str]:
    """The same as a stream."""
    first = MESSAGE_USAGE | {"output_tokens": FIRST_OUTPUT_TOKENS}
    last = {"output_tokens": MESSAGE_USAGE["output_tokens"]}
    deltas = [{"type": "text_delta", "text": word} for word in WORDS]
    reported: list[Answer] = [
        {"type": "message_start", "message": _message([], None, first)},
        _block("start", content_block={"type": "text", "text": ""}),
        {"type": "ping"},
        *(_block("delta", delta=delta) for delta in deltas),
        _block("stop"),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last},
        {"type": "message_stop"},
    ]
    return [_typed_event(each) for each in reported]


def _message(content: list[Answer], stop_reason: str | None, usage: Answer) -> Answer:
    return {
        **{"id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE},
        **{"content": content, "stop_reason": stop_reason, "usage": usage},
    }


def _block(kind: str, **more: Any) -> Answer:
    return {"type": f"content_block_{kind}", "index": 0, **more}


def _event(data: Answer) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _typed_event(data: Answer) -> str:
    return f"event: {data['type']}\n{_event(data)}"

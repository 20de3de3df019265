"""A provider that answers as OpenAI's does, with the same usage each time: `uvicorn …:app`.

What the last message says chooses the answer: "fail" fails, "slow" takes its time in a stream.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

MODEL = "gpt-4o-mini-2024-07-18"
USAGE = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920},
    "completion_tokens_details": {"reasoning_tokens": 200},
}
WORDS = 5
EVENT_STREAM = "text/event-stream"

app = FastAPI()


@app.post("/v1/chat/completions")
async def complete(request: Request) -> Any:
    asked = await request.json()
    said = asked["messages"][-1]["content"]
    if said == "fail":
        return JSONResponse({"error": {"message": "no", "type": "server_error"}}, 500)
    if asked.get("stream"):
        with_usage = (asked.get("stream_options") or {}).get("include_usage", False)
        return StreamingResponse(_stream(said == "slow", with_usage), media_type=EVENT_STREAM)
    message = {"role": "assistant", "content": "hi"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return _answer("chat.completion", choices=[choice], usage=USAGE)


async def _stream(slow: bool, with_usage: bool) -> AsyncIterator[str]:
    for word in range(WORDS):
        if slow and word:
            await asyncio.sleep(1)
        yield _event(_delta({"content": "hi "}, None))
    yield _event(_delta({}, "stop"))
    if with_usage:
        yield _event(_answer("chat.completion.chunk", choices=[], usage=USAGE))
    yield "data: [DONE]\n\n"


def _delta(delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _answer("chat.completion.chunk", choices=[choice])


def _answer(kind: str, **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": MODEL, **more}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"

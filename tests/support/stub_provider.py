"""A provider that answers as OpenAI's and Anthropic's do (`stub_answers.py`): `uvicorn …:app`.

What is said to it chooses the answer: "fail" fails, "limited" refuses all but a client's third
try, "slow" takes its time in a stream. JSON is compressed for those who take it so.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.middleware.gzip import GZipMiddleware

from tests.support import stub_answers
from tests.support.stub_answers import Answer

EVENT_STREAM: Final = "text/event-stream"
TRIES: Final = 3  # until "limited" is answered: as many as both clients make

app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=0)  # event streams pass it as they are


@app.post("/v1/chat/completions")
async def complete(request: Request) -> Response:
    asked = await request.json()
    with_usage = (asked.get("stream_options") or {}).get("include_usage", False)
    events = stub_answers.chat_events(with_usage=with_usage)
    return _answer(request, asked, asked["messages"], stub_answers.chat(), events)


@app.post("/v1/responses")
async def respond(request: Request) -> Response:
    asked = await request.json()
    events = stub_answers.response_events()
    return _answer(request, asked, asked["input"], stub_answers.response(), events)


@app.post("/v1/messages")
async def say(request: Request) -> Response:
    asked = await request.json()
    events = stub_answers.message_events()
    return _answer(request, asked, asked["messages"], stub_answers.message(), events)


def _answer(
    request: Request, asked: Answer, messages: Any, whole: Answer, events: list[str]
) -> Response:
    said = messages if isinstance(messages, str) else messages[-1]["content"]
    retries = int(request.headers.get("x-stainless-retry-count", 0))
    if said == "fail":
        return _refusal("server_error", 500)
    if said == "limited" and retries + 1 < TRIES:
        return _refusal("rate_limit_error", 429)
    if asked.get("stream"):
        return StreamingResponse(_paced(events, said == "slow"), media_type=EVENT_STREAM)
    return JSONResponse(whole)


def _refusal(kind: str, status: int) -> JSONResponse:
    problem = {"type": "error", "error": {"message": "no", "type": kind}}
    return JSONResponse(problem, status, {"retry-after-ms": "1"})


async def _paced(events: list[str], slow: bool) -> AsyncIterator[str]:
    for number, event in enumerate(events):
        if slow and number:
            await asyncio.sleep(1)
        yield event

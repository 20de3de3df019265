"""A web service in front of models, with the usage middleware: the least there is to it.

    USAGEPIPE_KAFKA=127.0.0.1:9092 uvicorn --app-dir examples gateway:app

    curl -H 'X-User: ada' -H 'Content-Type: application/json' \
        -d '{"model": "small", "messages": []}' http://127.0.0.1:8000/v1/chat/completions

Your own service replaces `complete` and `who_calls`; the middleware reads the usage from the
answer as it passes. Take who calls from your authentication: a header can say anything.
"""

from typing import Any

from fastapi import FastAPI, Request
from starlette.types import Scope

from usagepipe.producer import Caller, UsageMiddleware, UsageRecorder


def who_calls(scope: Scope) -> Caller | None:
    """The caller of a request; None is nobody, and then nothing is recorded."""
    user = Request(scope).headers.get("x-user")
    return Caller(user_id=user, source="web") if user else None


app = FastAPI()
app.add_middleware(
    UsageMiddleware, recorder=UsageRecorder(), identify=who_calls, provider="example"
)


@app.get("/health")
async def health() -> dict[str, str]:
    """For load balancers and container health checks."""
    return {"status": "ok"}


@app.post("/v1/chat/completions")
async def complete(request: dict[str, Any]) -> dict[str, Any]:
    """Answer as OpenAI's API does; a real gateway asks a model here."""
    words = sum(len(str(message.get("content", "")).split()) for message in request["messages"])
    return {
        "object": "chat.completion",
        "model": request["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello!"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": words, "completion_tokens": 2, "total_tokens": words + 2},
    }

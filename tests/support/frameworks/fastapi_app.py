"""FastAPI, with handlers in its thread pool and on the loop."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from tests.support.frameworks import answers

app = FastAPI()


@app.post("/chat")
async def chat(request: Request) -> dict[str, Any]:
    await request.json()
    return answers.CHAT


@app.post("/stream")
def stream() -> StreamingResponse:
    return StreamingResponse(answers.stream(), media_type="text/event-stream")


@app.post("/fails")
def fails() -> None:
    answers.fail()

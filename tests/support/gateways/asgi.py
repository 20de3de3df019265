"""A small gateway, for the tests of the middleware: `uvicorn …gateways.asgi:app`."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

from usagepipe.producer import Caller, UsageMiddleware, UsageRecorder, stamp_usage
from usagepipe.producer.watching.asgi import Scope

app = FastAPI()
recorder = UsageRecorder()


def identify(scope: Scope) -> Caller | None:
    names = [value for name, value in scope["headers"] if name == b"x-user"]
    return Caller(names[0].decode()) if names else None


app.add_middleware(UsageMiddleware, recorder=recorder, identify=identify)


@app.get("/sync/{tokens}")
def sync(tokens: int) -> dict[str, int]:
    """Runs in the framework's thread pool."""
    stamp_usage("m", tokens, 1)
    return {"pid": os.getpid()}


@app.get("/async/{tokens}")
async def coroutine(tokens: int) -> dict[str, int]:
    stamp_usage("m", tokens, 1)
    return {"pid": os.getpid()}


@app.get("/body/{tokens}")
async def body(tokens: int) -> JSONResponse:
    return JSONResponse({"model": "m", "usage": {"prompt_tokens": tokens, "completion_tokens": 1}})


@app.get("/stream/{tokens}")
async def stream(tokens: int) -> StreamingResponse:
    async def chunks() -> AsyncIterator[str]:
        yield "data: 1\n\n"
        stamp_usage("m", tokens, 1)

    return StreamingResponse(chunks(), media_type="text/event-stream")


@app.post("/endless/{tokens}")
async def endless(tokens: int) -> StreamingResponse:
    async def chunks() -> AsyncIterator[str]:
        stamp_usage("m", tokens, 1)
        yield "data: 1\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(chunks(), media_type="text/event-stream")


@app.get("/sync-stream/{tokens}")
def sync_stream(tokens: int) -> StreamingResponse:
    def chunks() -> Iterator[str]:
        yield "data: 1\n\n"
        stamp_usage("m", tokens, 1)

    return StreamingResponse(chunks(), media_type="text/event-stream")


@app.get("/background/{tokens}")
async def background(tokens: int, tasks: BackgroundTasks) -> dict[str, int]:
    tasks.add_task(stamp_usage, "m", tokens, 1)
    return {}


@app.get("/raises/{tokens}")
async def raises(tokens: int, request: Request) -> None:
    stamp_usage("m", tokens, 1)
    raise RuntimeError("the model is gone")


@app.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()

"""The demo's gateway: a FastAPI application with the middleware, in its own process.

Its provider is a stub: a request's `metadata` describes the answer, so the replay knows what must
be counted. Apart from the stub, it records usage as any gateway does.
"""

import argparse
import asyncio
import json
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from usagepipe.local.demo.catalogue import MODEL_BY_NAME, Model
from usagepipe.local.demo.plan import BROKEN, REFUSED
from usagepipe.local.demo.population import BEARER, LEGACY, SESSION, Population
from usagepipe.local.ports import HOST, bound_socket
from usagepipe.producer import Caller, UsageMiddleware, UsageRecorder, stamp_usage
from usagepipe.schemas.logs import configure_logs
from usagepipe.schemas.settings import ProducerSettings

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class GatewayCounters:
    """The gateway's own counters, printed when it ends."""

    recorded: int
    delivered: int
    dropped: dict[str, int]  # by reason
    unrecorded: dict[str, int]  # requests without an event, by reason


def create_app(recorder: UsageRecorder, population: Population) -> FastAPI:
    """The gateway. Prints its counters as one line of JSON when it shuts down."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(recorder.close)
        _say(asdict(_counters(recorder)))

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_middleware(
        UsageMiddleware, recorder=recorder, identify=lambda scope: _identify(scope, population)
    )
    app.post(PATH)(complete_chat)
    return app


def _identify(scope: Mapping[str, Any], population: Population) -> Caller | None:
    for name, value in scope["headers"]:
        header = name.decode("latin-1")
        if header in (BEARER, SESSION, LEGACY):
            return population.directory.get((header, value.decode("latin-1")))
    return None


async def complete_chat(request: Request) -> JSONResponse:
    """Answer as OpenAI would, with the usage from the request's metadata."""
    body = await request.json()
    wish = {name: int(text) for name, text in body["metadata"].items() if name != "model"}
    model = MODEL_BY_NAME[body["metadata"]["model"]]
    prompt, completion = wish["prompt_tokens"], wish["completion_tokens"]
    cached = wish["cached_tokens"]
    stamp_usage(model.name, requested_model=body["model"], provider=model.provider)
    if wish["status"] == REFUSED:
        stamp_usage(prompt_tokens=0, completion_tokens=0)
        return _error(REFUSED, "rate_limit_exceeded")
    if wish["status"] == BROKEN:
        stamp_usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
        return _error(BROKEN, "server_error")
    # Not stamped: the middleware reads the tokens from the answer as it passes, and the worker
    # computes the cost.
    return JSONResponse(_answer(model, prompt, completion, cached))


def _error(status: int, kind: str) -> JSONResponse:
    return JSONResponse({"error": {"type": kind, "message": "as asked for"}}, status)


def _answer(model: Model, prompt: int, completion: int, cached: int) -> dict[str, object]:
    message = {"role": "assistant", "content": "This is a stub's answer."}
    return {
        "id": "chatcmpl-demo",
        "object": "chat.completion",
        "model": model.name,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }


def _counters(recorder: UsageRecorder) -> GatewayCounters:
    snapshot = recorder.snapshot()
    unrecorded: Counter[str] = Counter()
    for reasons in snapshot.unrecorded.values():
        unrecorded.update(reasons)
    return GatewayCounters(snapshot.recorded, snapshot.delivered, snapshot.dropped, unrecorded)


def _say(line: dict[str, object]) -> None:
    """One line of JSON on standard output, the way back to the demo."""
    os.write(1, json.dumps(line).encode() + b"\n")


def main() -> None:
    """Serve until SIGTERM, on a free port that the first line of output names."""
    parser = argparse.ArgumentParser(prog="python -m usagepipe.local.demo.gateway")
    parser.add_argument("--seed", type=int, default=0, help="of the people who may call")
    arguments = parser.parse_args()
    settings = ProducerSettings.load()
    configure_logs(settings.log_level)
    app = create_app(UsageRecorder(settings), Population(arguments.seed))
    listener = bound_socket(0, "--port")
    # asyncio does so only for sockets made with IPPROTO_TCP; else each answer waits 40 ms for the
    # acknowledgement of its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _say({"gateway": f"http://{HOST}:{listener.getsockname()[1]}"})
    config = uvicorn.Config(app, access_log=False, log_config=None, ws="none", lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()

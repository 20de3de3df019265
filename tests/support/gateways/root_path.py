"""The same gateway under a root path in three ways: `uvicorn …gateways.root_path:plain`."""

import os

from fastapi import FastAPI

from usagepipe.producer import Caller, UsageMiddleware, UsageRecorder

recorder = UsageRecorder()


def gateway(root_path: str = "") -> FastAPI:
    app = FastAPI(root_path=root_path)

    async def answer() -> dict[str, object]:
        return {"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}

    app.add_api_route("/v3/chat", answer, methods=["POST"])
    app.add_api_route("/other", answer, methods=["POST"])
    app.add_middleware(
        UsageMiddleware,
        recorder=recorder,
        identify=lambda scope: Caller("u"),
        paths=(os.environ["GATEWAY_PATHS"],),
    )
    return app


plain = gateway()
with_root_path = gateway("/ai")
mounted = FastAPI()
mounted.mount("/ai", gateway())

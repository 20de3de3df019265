"""Litestar."""

from typing import Any

from litestar import Litestar, post
from litestar.params import JSONBody
from litestar.response import Stream

from tests.support.frameworks import answers


@post("/chat", status_code=200)
async def chat(data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
    return answers.CHAT


@post("/stream", status_code=200)
async def stream() -> Stream:
    return Stream(answers.async_stream(), media_type="text/event-stream")


@post("/fails", sync_to_thread=True)
def fails() -> None:
    answers.fail()


app = Litestar(route_handlers=[chat, stream, fails])

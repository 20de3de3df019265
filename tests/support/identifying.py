"""Requests of callers under ASGI and WSGI, and look-ups that know them at once or later."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from usagepipe.producer import Caller
from usagepipe.producer.watching.callers import Identify
from usagepipe.producer.watching.requests import Request

SECRET = "0123456789abcdef"
KEY = "sk-live-9f8e7d6c5b4a3210"
ADA = Caller("u-ada", "Ada")
ADAS_KEY = Caller("u-ada", "Ada", api_key_id="k-1", api_key_name="laptop")


def asgi(*, peer: str | None = "10.0.0.1", **headers: str) -> Request:
    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    client = None if peer is None else (peer, 5_000)
    return {"type": "http", "method": "POST", "path": "/", "headers": pairs, "client": client}


def wsgi(*, peer: str | None = "10.0.0.1", **headers: str) -> Request:
    # PEP 3333: bytes as text, one a character.
    pairs = {f"HTTP_{k.upper()}": v.encode().decode("latin-1") for k, v in headers.items()}
    return {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "REMOTE_ADDR": peer or "", **pairs}


def found(identify: Identify, request: Request) -> Caller | None:
    answer = identify(request)
    return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer


async def _awaited(answer: Any) -> Caller | None:
    caller: Caller | None = await answer
    return caller


def at_once(table: dict[str, Caller]) -> Callable[[str], Any]:
    return table.get


def later(table: dict[str, Caller]) -> Callable[[str], Any]:
    async def look_up(key: str) -> Caller | None:
        await asyncio.sleep(0)
        return table.get(key)

    return look_up


both_protocols = pytest.mark.parametrize("request_of", [asgi, wsgi])


both_look_ups = pytest.mark.parametrize("look_up", [at_once, later])

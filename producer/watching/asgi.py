"""ASGI's types, spelled out here because a bare install has no web framework to take them from."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """The value of the first header called `name` (lower case), or "". Theirs have any case."""
    for key, value in headers:
        if key.lower() == name:
            return value.decode("latin-1").strip()
    return ""

"""ASGI's types, spelled out here because a bare install has no web framework to take them from."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class AnswerHeaders:
    """The first value of an answer's header by its name (lower case), or "".

    Applications write the names in any case.
    """

    def __init__(self, sent: Sequence[tuple[bytes, bytes]]) -> None:
        self._sent = sent
        self._values: dict[bytes, bytes] | None = None

    def __call__(self, name: str) -> str:
        if self._values is None:
            self._values = {key.lower(): value for key, value in reversed(self._sent)}
        value = self._values.get(name.encode("latin-1"))
        return "" if value is None else value.decode("latin-1").strip()

"""The transports of httpx and httpx2, except for their base classes.

Each class here is combined with a base class of one library (`httpx.py`, `httpx2.py`), because a
client accepts streams of its own library only.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, ClassVar, Generic, Self, TypeVar, Unpack

from usagepipe.producer.delivery.recorder import Recorder
from usagepipe.producer.watching.callers import Caller
from usagepipe.producer.watching.calls import Call, Calls, Req, Res
from usagepipe.producer.watching.request_recorder import WatchOptions

Inner = TypeVar("Inner")  # the base class of the transports of one library


class _Watching(Generic[Req, Inner]):
    """Wraps a transport of the class `kind`. Its answers get streams of the class `watched`."""

    kind: ClassVar[type]
    watched: ClassVar[type[Any]]

    def __init__(
        self,
        transport: Inner,
        *,
        recorder: Recorder,
        caller: Caller | Callable[[Req], Caller | None],
        **options: Unpack[WatchOptions],
    ) -> None:
        if not isinstance(transport, self.kind):  # each request would fail in the client
            wanted, given = self.kind.__module__.partition(".")[0], type(transport).__module__
            raise TypeError(f"this class wraps a transport of {wanted}, not one of {given}")
        self._transport: Any = transport
        self._calls = Calls(recorder, caller, options)


class WatchingTransport(Generic[Req, Res, Inner], _Watching[Req, Inner]):
    """A transport that records the calls made through it."""

    def handle_request(self, request: Req) -> Res:
        handle: Callable[[Req], Res] = self._transport.handle_request
        return self._calls.send(handle, request, self.watched)

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._transport.__exit__(*error)

    def close(self) -> None:
        self._transport.close()


class AsyncWatchingTransport(Generic[Req, Res, Inner], _Watching[Req, Inner]):
    """The same for async."""

    async def handle_async_request(self, request: Req) -> Res:
        handle: Callable[[Req], Awaitable[Res]] = self._transport.handle_async_request
        return await self._calls.send_async(handle, request, self.watched)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._transport.__aexit__(*error)

    async def aclose(self) -> None:
        await self._transport.aclose()


class WatchedStream:
    """The raw bytes of an answer, still compressed."""

    def __init__(self, stream: Any, call: Call) -> None:
        self._stream = stream
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        return self._call.passing(self._stream)

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._call.finish()


class AsyncWatchedStream:
    """The same for async."""

    def __init__(self, stream: Any, call: Call) -> None:
        self._stream = stream
        self._call = call

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._call.passing_async(self._stream)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._call.finish()

"""The transports of httpx and httpx2, except for their base classes.

Each class here is combined with a base class of one library (`httpx.py`, `httpx2.py`), because a
client accepts streams of its own library only.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, Unpack

from usagepipe.producer.delivery.recorder import Recorder
from usagepipe.producer.watching.callers import Caller
from usagepipe.producer.watching.calls import Call, Calls, Req, Res
from usagepipe.producer.watching.request_recorder import WatchOptions

AnyReq = TypeVar("AnyReq", contravariant=True)
AnyRes = TypeVar("AnyRes", covariant=True)
Inner = TypeVar("Inner")


class Transport(Protocol[AnyReq, AnyRes]):
    """The transport that sends the requests."""

    def handle_request(self, request: AnyReq) -> AnyRes: ...
    def __enter__(self) -> object: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol[AnyReq, AnyRes]):
    def handle_async_request(self, request: AnyReq) -> Awaitable[AnyRes]: ...
    async def __aenter__(self) -> object: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    async def aclose(self) -> None: ...


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
        _check(transport, self.kind)
        self._transport = transport
        self._calls = Calls(recorder, caller, options)


class WatchingTransport(Generic[Req, Res], _Watching[Req, Transport[Req, Res]]):
    """A transport that records the calls made through it."""

    def handle_request(self, request: Req) -> Res:
        return self._calls.send(self._transport.handle_request, request, self.watched)

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._transport.__exit__(exc_type, exc_value, traceback)

    def close(self) -> None:
        self._transport.close()


class AsyncWatchingTransport(Generic[Req, Res], _Watching[Req, AsyncTransport[Req, Res]]):
    """The same for async."""

    async def handle_async_request(self, request: Req) -> Res:
        handle = self._transport.handle_async_request
        return await self._calls.send_async(handle, request, self.watched)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        await self._transport.aclose()


def _check(transport: object, kind: type) -> None:
    """Refuse a transport of another library: each request would fail in the client."""
    if not isinstance(transport, kind):
        wanted, given = kind.__module__.partition(".")[0], type(transport).__module__
        raise TypeError(f"this class wraps a transport of {wanted}, not one of {given}")


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

"""What the transports of httpx and httpx2 have in common, which is all but their base classes.

Each class here is mixed with one of a library's (`httpx.py`, `httpx2.py`): a client takes no
stream of another library.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, Unpack

from usagepipe.producer.delivery.recorder import Recorder
from usagepipe.producer.watching.callers import Caller
from usagepipe.producer.watching.calls import Call, Calls, Req, Res
from usagepipe.producer.watching.conclusions import WatchOptions

AnyReq = TypeVar("AnyReq", contravariant=True)
AnyRes = TypeVar("AnyRes", covariant=True)
Inner = TypeVar("Inner")


class Transport(Protocol[AnyReq, AnyRes]):
    """What does the work."""

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
    """Stands around one of the class `kind`, whose answers get a stream that is `watched`."""

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
    """A transport that records the calls which go through it."""

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
    """A transport of another library would make each request fail at its client's hands."""
    if not isinstance(transport, kind):
        wanted, given = kind.__module__.partition(".")[0], type(transport).__module__
        raise TypeError(f"a transport of {given} was given where one of {wanted} is watched")


class WatchedStream:
    """The bytes of an answer as they came, compressed ones too."""

    def __init__(self, stream: Any, call: Call) -> None:
        self._stream = stream
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        return self._call.passing(self._stream)

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._call.conclude()


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
            self._call.conclude()

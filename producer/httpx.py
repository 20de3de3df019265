"""httpx transports that record the calls which your own code makes to providers.

For programs that are no gateway: give one to `httpx.Client`, or to a provider's own client by its
`http_client`. It stands around the transport that does the work, because the hooks of httpx do not
see a streamed body as it passes.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self, Unpack

from usagepipe.producer.callers import Caller, at_once
from usagepipe.producer.conclusions import Conclusions, WatchOptions
from usagepipe.producer.exchanges import Exchange
from usagepipe.producer.recorder import Recorder
from usagepipe.producer.stamps import current_stamp
from usagepipe.schemas.errors import MissingExtraError

try:
    import httpx
except ImportError as error:
    raise ImportError(str(MissingExtraError("httpx", "httpx"))) from error

NEVER_ANSWERED = 0  # no server's status: the call came to nothing on its way

# Whom a call counts for: always the same, or by the request; None is nobody.
CallerOf = Caller | Callable[[httpx.Request], Caller | None]


class UsageTransport(httpx.BaseTransport):
    """Records one event for each call that goes through `transport`, for `httpx.Client`:
    `httpx.Client(transport=UsageTransport(httpx.HTTPTransport(), recorder=…, caller=…))`.

    `caller` is whom the calls count for. The options are those of `UsageMiddleware`, with other
    defaults: the provider is the host, the request's id stands in `x-request-id`. The event is
    recorded when the answer has been read or is closed; closed before its end it is partial.
    Inside of a request that a middleware watches the transport only passes on: that request is
    the one that counts.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport,
        *,
        recorder: Recorder,
        caller: CallerOf,
        **options: Unpack[WatchOptions],
    ) -> None:
        self._transport = transport
        self._calls = _Calls(recorder, caller, options)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        call = self._calls.begin(request)
        if call is None:
            return self._transport.handle_request(request)
        try:
            response = self._transport.handle_request(request)
        except BaseException as error:
            call.broke_off(error)
            raise
        if isinstance(response.stream, httpx.SyncByteStream) and call.goes_on(response):
            response.stream = _Stream(response.stream, call)
        return response

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._transport.__exit__(kind, error, traceback)

    def close(self) -> None:
        self._transport.close()


class AsyncUsageTransport(httpx.AsyncBaseTransport):
    """The same for `httpx.AsyncClient`, around an `httpx.AsyncHTTPTransport`."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        recorder: Recorder,
        caller: CallerOf,
        **options: Unpack[WatchOptions],
    ) -> None:
        self._transport = transport
        self._calls = _Calls(recorder, caller, options)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = self._calls.begin(request)
        if call is None:
            return await self._transport.handle_async_request(request)
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException as error:
            call.broke_off(error)
            raise
        if isinstance(response.stream, httpx.AsyncByteStream) and call.goes_on(response):
            response.stream = _AsyncStream(response.stream, call)
        return response

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._transport.__aexit__(kind, error, traceback)

    async def aclose(self) -> None:
        await self._transport.aclose()


class _Calls:
    """Opens an exchange for each call that is to be recorded."""

    def __init__(self, recorder: Recorder, caller: CallerOf, options: WatchOptions) -> None:
        options.setdefault("correlation_header", "x-request-id")
        identify = (lambda request: caller) if isinstance(caller, Caller) else at_once(caller)
        self._conclusions = Conclusions(recorder, identify, **options)

    def begin(self, request: httpx.Request) -> "_Call | None":
        """None: it is not watched, or the request that is being answered counts instead."""
        stamp = current_stamp.get()
        if not self._conclusions.enabled or (stamp is not None and not stamp.over):
            return None
        exchange = self._conclusions.open(
            request.method,
            request.url.path,
            lambda name: request.headers.get(name, ""),
            unanswered=NEVER_ANSWERED,
        )
        if exchange is None:
            return None
        exchange.provider = exchange.provider or request.url.host
        return _Call(exchange, request, self._conclusions)


class _Call:
    """One call and its exchange, concluded once."""

    def __init__(
        self, exchange: Exchange, request: httpx.Request, conclusions: Conclusions
    ) -> None:
        self.exchange = exchange
        self._request = request
        self._conclusions: Conclusions | None = conclusions

    def goes_on(self, response: httpx.Response) -> bool:
        """The answer has begun; whether its body is still to come."""
        self.exchange.answered(response.status_code, lambda name: response.headers.get(name, ""))
        try:
            body = response.content
        except httpx.ResponseNotRead:
            return True
        self.exchange.passed(body)
        self.read_to_the_end()
        return False

    def read_to_the_end(self) -> None:
        self.exchange.ended()
        self.conclude()

    def broke_off(self, error: BaseException) -> None:
        self.exchange.broke_off(error)
        self.conclude()

    def conclude(self) -> None:
        """Nobody reads on: an answer that did not come to its end was left."""
        conclusions, self._conclusions = self._conclusions, None
        if conclusions is None:
            return
        with suppress(httpx.RequestNotRead):  # sent from a stream: its model stays unknown
            self.exchange.asked(self._request.content)
        conclusions.conclude(self.exchange, self._request)


class _Stream(httpx.SyncByteStream):
    """The bytes of an answer as they came, compressed ones too."""

    def __init__(self, stream: httpx.SyncByteStream, call: _Call) -> None:
        self._stream = stream
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._stream:
                self._call.exchange.passed(chunk)
                yield chunk
        except BaseException as error:
            self._call.broke_off(error)
            raise
        self._call.read_to_the_end()

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._call.conclude()


class _AsyncStream(httpx.AsyncByteStream):
    """The same for `AsyncUsageTransport`."""

    def __init__(self, stream: httpx.AsyncByteStream, call: _Call) -> None:
        self._stream = stream
        self._call = call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                self._call.exchange.passed(chunk)
                yield chunk
        except BaseException as error:
            self._call.broke_off(error)
            raise
        self._call.read_to_the_end()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._call.conclude()

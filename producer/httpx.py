"""httpx transports that record the calls which your own code makes to providers.

For programs that are not gateways. Each wraps the transport that sends the requests, because
httpx's hooks do not see a streamed body as it passes. The providers' own clients use httpx2 now:
give them the transport of `httpx2.py`.
"""

from usagepipe.producer.watching.transports import (
    AsyncWatchedStream,
    AsyncWatchingTransport,
    WatchedStream,
    WatchingTransport,
)
from usagepipe.schemas.errors import MissingExtraError

try:
    import httpx
except ImportError as error:
    raise ImportError(str(MissingExtraError("httpx", "httpx"))) from error


class _Stream(WatchedStream, httpx.SyncByteStream):
    """A stream that a client accepts."""


class _AsyncStream(AsyncWatchedStream, httpx.AsyncByteStream):
    """The same for async."""


class UsageTransport(
    WatchingTransport[httpx.Request, httpx.Response, httpx.BaseTransport], httpx.BaseTransport
):
    """Records one event for each call through `transport`, for `httpx.Client`:
    `httpx.Client(transport=UsageTransport(httpx.HTTPTransport(), recorder=…, caller=…))`.

    `caller` owns the calls: a `Caller`, or a function that returns one for a request, or None for
    nobody. The options are those of `UsageMiddleware` with other defaults: the provider is the
    host, and the header `x-request-id` has the request's id. The event is recorded when the answer
    has been read or is closed; if it is closed before its end, the event is partial. Inside a
    request that a middleware watches, that request counts. Only if its own answer has no tokens,
    the calls with tokens are events instead.

    Raises:
        TypeError: `transport` is not httpx's, or `caller` is an async function.
    """

    kind = httpx.BaseTransport
    watched = _Stream


class AsyncUsageTransport(
    AsyncWatchingTransport[httpx.Request, httpx.Response, httpx.AsyncBaseTransport],
    httpx.AsyncBaseTransport,
):
    """The same for `httpx.AsyncClient`, around an `httpx.AsyncHTTPTransport`."""

    kind = httpx.AsyncBaseTransport
    watched = _AsyncStream

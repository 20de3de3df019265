"""httpx transports that record the calls which your own code makes to providers.

For programs that are no gateway. It stands around the transport that does the work, because the
hooks of httpx do not see a streamed body as it passes. Providers' own clients are made with httpx2
by now and take the transport of `httpx2.py`.
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
    """What a client takes for a stream."""


class _AsyncStream(AsyncWatchedStream, httpx.AsyncByteStream):
    """The same for async."""


class UsageTransport(WatchingTransport[httpx.Request, httpx.Response], httpx.BaseTransport):
    """Records one event for each call that goes through `transport`, for `httpx.Client`:
    `httpx.Client(transport=UsageTransport(httpx.HTTPTransport(), recorder=…, caller=…))`.

    `caller` is whom the calls count for: a `Caller`, or a function from the request to one or to
    None, which is nobody. The options are those of `UsageMiddleware`, with other defaults: the
    provider is the host, the request's id stands in `x-request-id`. The event is recorded when the
    answer has been read or is closed; closed before its end it is partial. Inside of a request
    that a middleware watches, that request is the one that counts, unless its own answer tells no
    tokens: then the calls with tokens are events, and it is none.

    Raises:
        TypeError: `transport` is not httpx's, or `caller` is an async function.
    """

    kind = httpx.BaseTransport
    watched = _Stream


class AsyncUsageTransport(
    AsyncWatchingTransport[httpx.Request, httpx.Response], httpx.AsyncBaseTransport
):
    """The same for `httpx.AsyncClient`, around an `httpx.AsyncHTTPTransport`."""

    kind = httpx.AsyncBaseTransport
    watched = _AsyncStream
